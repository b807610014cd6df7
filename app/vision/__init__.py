"""From an encoded image to a digit of 28×28 as MNIST made them: decode, find ink, normalize."""

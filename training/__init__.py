"""Training: from MNIST to a version that serving can load."""

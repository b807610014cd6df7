"""Other people's wire formats over the same predictor."""

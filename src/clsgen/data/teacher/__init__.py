"""Where explanations come from when the data has none."""

"""Judges predictions, anybody's: numpy and scikit-learn, no torch."""

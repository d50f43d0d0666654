"""A model in forms that other tools read."""

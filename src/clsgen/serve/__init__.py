"""Texts over HTTP: the probability first, then the reason."""

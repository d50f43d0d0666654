"""Figures and pages made of result files."""

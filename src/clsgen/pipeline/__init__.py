"""Joins the stages."""

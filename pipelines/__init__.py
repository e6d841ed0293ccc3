"""Whole jobs and recipes: one recipe a file."""

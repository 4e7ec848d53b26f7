"""Scores of a whole mixture on held-out data."""

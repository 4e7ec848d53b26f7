"""Measures of text, speech and likelihood, as pure functions."""

"""Builders that configs name."""

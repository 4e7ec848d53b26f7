"""Launching training on clusters and clouds, checks before a launch, and sweeps of many runs."""

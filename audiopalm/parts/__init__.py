"""Functions that build the parts of configs."""

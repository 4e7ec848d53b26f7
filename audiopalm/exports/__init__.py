"""Exports trained runs as folders for PyTorch, and reads such folders back."""

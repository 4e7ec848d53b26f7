"""Trained models as folders for PyTorch, and back."""

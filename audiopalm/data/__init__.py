"""Corpora, streams caches, rows and loaders."""

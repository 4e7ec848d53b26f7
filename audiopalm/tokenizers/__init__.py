"""Tokenizers: text, semantic units, acoustic codes."""

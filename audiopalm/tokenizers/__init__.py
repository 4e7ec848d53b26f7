"""Tokenizers of text, semantic units, acoustic codes, phonemes and pitch."""

"""Compiling for hardware one does not have: does it fit, what does it send, what binds it."""

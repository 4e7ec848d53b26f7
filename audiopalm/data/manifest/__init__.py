"""The user's own recordings, listed in files: what may stand in a line, and what a corpus needs."""

"""Token ids: the range of each stream in each column, and their description as JSON."""

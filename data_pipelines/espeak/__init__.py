"""espeak-ng (GPL-3.0) in a process of its own: `__main__` is that process, `client` talks to it."""

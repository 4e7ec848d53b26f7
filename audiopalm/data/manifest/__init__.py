"""Manifests: the files that list a user's recordings, and the corpus they make."""

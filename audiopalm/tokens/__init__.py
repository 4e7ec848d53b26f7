"""Ids: which range of a column belongs to which stream, and the manifest that names them."""

"""Token systems: text, units, codes."""

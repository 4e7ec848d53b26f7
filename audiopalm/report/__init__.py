"""Pages about runs: one run to read and to hear, several runs side by side."""

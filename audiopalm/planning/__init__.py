"""Plans for hardware you need not have: memory, communication and lower bounds on step time."""

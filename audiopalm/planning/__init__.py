"""Planning: what a run will take, read from programs that are compiled and not run."""

"""Starting training: scripts for schedulers and clouds, several processes on one machine."""

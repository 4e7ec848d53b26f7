"""Training: optimizers, the step, the loop, checkpoints and logs."""

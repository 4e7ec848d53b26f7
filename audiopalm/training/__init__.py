"""Training: optimizers, one step, the loop, checkpoints and what they write down."""

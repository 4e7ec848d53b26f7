"""What the path of a parameter says about it."""

import jax

LAYERS = "layers"  # parameters under this name are stacks: their first axis counts layers
NOT_KERNELS = ("scale", "bias")  # gains and offsets: how the names of their leaves end


def names(path: tuple) -> list[str]:
  """Returns ["layers", "mlp", "down"] of a path of `jax.tree_util`."""
  return jax.tree_util.keystr(path, simple=True, separator="/").split("/")


def is_kernel(path: tuple, leaf: jax.Array | jax.ShapeDtypeStruct) -> bool:
  """Returns whether a parameter is a matrix, or a stack of them: no norm, bias or vector."""
  rank = leaf.ndim - (LAYERS in names(path))
  return rank >= 2 and not names(path)[-1].endswith(NOT_KERNELS)

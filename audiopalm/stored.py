"""Arrays in folders that Orbax wrote."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from etils import epath

from audiopalm.sharding import ArrayTree, name_of


class LiteralPath(epath.gpath.PosixGPath):
  """A path for Orbax whose own characters are never a pattern.

  Orbax finds the parts of a checkpoint by `path.glob(pattern)`, and etils treats the path before
  the pattern as one too: below a folder called "[proj]" arrays are lost without an error.
  """

  def glob(self, pattern: str) -> Iterator["LiteralPath"]:
    return (self._new(str(path)) for path in Path(str(self)).glob(pattern))


def described(folder: Path) -> Any:
  """Returns the tree of a folder with the shape and type of each array."""
  # A Checkpointer would wait for all processes, one that could not read its part among them, and
  # its own metadata() warns of a file that lies one folder higher.
  with contextlib.closing(ocp.StandardCheckpointHandler()) as handler:
    return handler.metadata(LiteralPath(str(folder))).tree


def read(folder: Path, target: ArrayTree) -> Any:
  """Returns the tree of a folder, placed as `target`, ShapeDtypeStructs in the same tree."""
  with contextlib.closing(ocp.StandardCheckpointHandler()) as handler:
    return handler.restore(LiteralPath(str(folder)), args=ocp.args.StandardRestore(target))


def shapes_of(tree: ArrayTree) -> dict[str, str]:
  """Returns {path: "float32 (4, 256)"}; tuples, lists and named tuples have the same paths."""
  leaves = jax.tree_util.tree_leaves_with_path(tree)
  return {name_of(path): shape_of(leaf) for path, leaf in leaves}


def shape_of(array: jax.Array | jax.ShapeDtypeStruct) -> str:
  return f"{array.dtype} {tuple(array.shape)}"

"""Muon: the kernels of the layers move by orthogonal matrices, all other parameters by Adam.

A kernel's momentum is replaced by the nearest matrix whose singular values are all about 1, so that
no direction is learned faster than another because its gradients are larger. Source: Jordan et al.,
"Muon: an optimizer for hidden layers in neural networks", 2024.
"""

import math

import jax
import jax.numpy as jnp
import optax
from jax.sharding import PartitionSpec

from audiopalm import sharding
from audiopalm.models.base import Params
from audiopalm.nn import lora

LAYERS = "layers"  # parameters under this name are stacks: their first axis counts layers
NOT_KERNELS = ("scale", "bias")  # how the names of gains and offsets end
MOMENTUM = 0.95
UPDATE_RMS = 0.2  # as Adam's updates, for one learning rate; arXiv:2502.16982, section 2.2
ITERATIONS = 5
COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the quintic that brings singular values near 1


def scale_by_muon(b1: float, b2: float, eps: float) -> optax.GradientTransformation:
  """Returns the transformation of gradients to updates of about UPDATE_RMS, as those of Adam.

  `b1`, `b2` and `eps` are Adam's, for tables, norms, biases and adapters. Momentum lies where its
  parameter lies; a mesh gathers it for the iterations, each device those of its layers.
  """
  rules = {"muon": _orthogonal_momentum(), "adam": optax.scale_by_adam(b1=b1, b2=b2, eps=eps)}
  return optax.partition(rules, _rules_of)


def orthogonalized(kernels_LMN: jax.Array) -> jax.Array:
  """Returns for each of L matrices U S V^T the matrix U S' V^T, S' about 1 (0.7 to 1.2), by
  Newton-Schulz iterations; zeros stay zeros."""
  wide = kernels_LMN.shape[1] <= kernels_LMN.shape[2]
  x_LMN = kernels_LMN if wide else kernels_LMN.mT
  x_LMN /= jnp.linalg.norm(x_LMN, axis=(1, 2), keepdims=True) + 1e-8
  a, b, c = COEFFICIENTS
  for _ in range(ITERATIONS):
    square_LMM = x_LMN @ x_LMN.mT
    x_LMN = a * x_LMN + (b * square_LMM + c * square_LMM @ square_LMM) @ x_LMN
  return x_LMN if wide else x_LMN.mT


def names_of(path: tuple) -> list[str]:
  """Returns ["layers", "mlp", "down"] of a path of `jax.tree_util`."""
  return sharding.name_of(path).split("/")


def is_kernel(path: tuple, leaf: jax.Array | jax.ShapeDtypeStruct) -> bool:
  """Returns whether a parameter is a matrix, or a stack of them: no norm, bias or vector."""
  names = names_of(path)
  return leaf.ndim - (LAYERS in names) >= 2 and not names[-1].endswith(NOT_KERNELS)


def _rules_of(params: Params) -> dict[str, str | dict]:
  """Returns "muon" for every kernel of a layer, "adam" for all other parameters."""

  def rule(path, leaf):
    names = names_of(path)
    kernel = LAYERS in names and lora.NAME not in names and is_kernel(path, leaf)
    return "muon" if kernel else "adam"

  return jax.tree_util.tree_map_with_path(rule, params)


def _orthogonal_momentum() -> optax.GradientTransformation:
  def moved(momentum, gradients):
    return jax.tree.map(lambda m, g: MOMENTUM * m + (1 - MOMENTUM) * g, momentum, gradients)

  def update(updates, momentum, params=None):
    momentum = moved(momentum, updates)
    return jax.tree_util.tree_map_with_path(_step, moved(momentum, updates)), momentum

  return optax.GradientTransformation(lambda params: jax.tree.map(jnp.zeros_like, params), update)


def _step(path: tuple, momentum: jax.Array) -> jax.Array:
  """Returns the update of a stack of kernels, each as one matrix from its inputs to its outputs."""
  layers, *shape = momentum.shape
  # Heads and their width lead out of attention; every other kernel has one axis of inputs.
  inputs = math.prod(shape[:-1] if names_of(path)[-1] == "out" else shape[:1])
  kernels_LMN = _gathered(momentum).reshape(layers, inputs, -1)
  update_LMN = UPDATE_RMS * max(kernels_LMN.shape[1:]) ** 0.5 * orthogonalized(kernels_LMN)
  update = update_LMN.reshape(momentum.shape)
  if jax.sharding.get_abstract_mesh().size <= 1:
    return update
  return jax.sharding.reshard(update, jax.typeof(momentum).sharding.spec)


def _gathered(x: jax.Array) -> jax.Array:
  """Returns x with whole kernels on each device: those of some layers, or of all where the number
  of layers does not divide."""
  mesh = jax.sharding.get_abstract_mesh()
  if mesh.size <= 1:
    return x
  return jax.sharding.reshard(x, PartitionSpec(None if len(x) % mesh.shape["fsdp"] else "fsdp"))

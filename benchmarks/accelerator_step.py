"""One training step on an accelerator beside the same on this machine's CPU: loss and gradients.

  python benchmarks/accelerator_step.py
  python benchmarks/accelerator_step.py --size tiny

Random parameters and tokens, rows of one example and of eight. In float32 (matrix products with
precision "highest") both must agree to rounding, in bfloat16 with each attention backend to what
eight bits allow. Ends with 1 where a case does not. Needs neither TensorFlow nor data. The result
is accelerator_step-MACHINE.json among the results.
"""

import argparse
import os
from typing import Any

# The CPU beside the accelerator, whatever the first choice is.
platforms = os.environ.get("JAX_PLATFORMS", "")
if platforms and "cpu" not in platforms.split(","):
  os.environ["JAX_PLATFORMS"] = f"{platforms},cpu"

import score  # noqa: E402
import steps  # noqa: E402

VOCABULARY = 2_048
SIZES = {"tiny": (2, 128, 256, 128), "small": (4, 512, 1_408, 512)}  # layers, width, hidden, rows
BATCH_ROWS = 4
PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy")
# Of the loss relative to it, and of the gradients' difference relative to their norm.
TOLERANCES = {"float32": (1e-5, 1e-4), "bfloat16": (5e-3, 3e-2)}


def main() -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--size", choices=SIZES, default="small")
  parser.add_argument("--attention", default="xla,cudnn", help="backends to try on an accelerator")
  arguments = parser.parse_args()
  import jax

  device = jax.devices()[0]
  backends = arguments.attention.split(",") if device.platform != "cpu" else ["xla"]
  cases = [("float32", "xla"), *(("bfloat16", name) for name in backends)]
  found = []
  for segments in (1, 8):
    wanted = computed(jax.devices("cpu")[0], arguments.size, segments, "float32", "xla")
    for dtype, attention in cases:
      one = {"segments": segments, "compute_dtype": dtype, "attention": attention}
      try:
        loss, gradients = computed(device, arguments.size, segments, dtype, attention)
        one |= differences(*wanted, loss, gradients, TOLERANCES[dtype])
      except Exception as error:  # a kernel's refusal: the other cases go on
        one["failed"] = f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"
      found.append(one)
      print(one, flush=True)
  kind = None if device.platform == "cpu" else device.device_kind
  result = {"command": score.command(__file__), **score.conditions(PACKAGES, kind), "cases": found}
  score.write(f"accelerator_step-{score.machine_name(kind)}", result)
  raise SystemExit(0 if all(one.get("agrees") for one in found) else 1)


def computed(device: Any, size: str, segments: int, dtype: str, attention: str) -> tuple:
  """Returns (loss, gradients) of a batch on one device, as numpy arrays."""
  import jax

  from audiopalm import sharding
  from audiopalm.nn import attention as backends
  from audiopalm.objectives.next_token import NextToken
  from audiopalm.settings import Machine

  backends.check(attention, device.platform)
  layers, width, hidden, row_length = SIZES[size]
  model = steps.llama(layers, width, hidden).build(steps.space_of(VOCABULARY))
  machine = Machine(name="one", fsdp=1, compute_dtype=dtype, attention=attention)
  batch = steps.batch_of(steps.tokens(VOCABULARY, BATCH_ROWS, row_length), segments)
  mesh, objective = sharding.mesh(machine, (device,)), NextToken()

  def mean(params, placed):
    losses, _ = objective.losses(
      model, params, {}, placed, key=None, train=False, step=0, machine=machine
    )
    return losses["model"].sum / losses["model"].weight

  with jax.set_mesh(mesh), jax.default_matmul_precision("highest" if dtype == "float32" else None):
    placed = sharding.place(batch, mesh, batch.axes())
    params = jax.tree.map(
      lambda array, shape: jax.device_put(array, shape.sharding), drawn(model, mesh),
      model.shapes(mesh),
    )  # fmt: skip
    return jax.device_get(jax.jit(jax.value_and_grad(mean))(params, placed))


def drawn(model: Any, mesh: Any) -> Any:
  """Returns random parameters, the same for every device."""
  import jax
  import numpy as np

  random = np.random.default_rng(0)

  def draw(path, shaped):
    if path[-1].key == "scale":
      return np.ones(shaped.shape, np.float32)
    return (0.05 * random.standard_normal(shaped.shape)).astype(np.float32)

  return jax.tree_util.tree_map_with_path(draw, model.shapes(mesh))


def differences(wanted_loss, wanted, loss, gradients, tolerances) -> dict[str, Any]:
  """Returns how far a loss and gradients are from those wanted, and whether that is near enough."""
  import jax
  import numpy as np

  def norm(tree):
    return float(np.sqrt(sum(np.sum(np.square(a, dtype=np.float64)) for a in tree)))

  leaves, wanted_leaves = jax.tree.leaves(gradients), jax.tree.leaves(wanted)
  apart = norm([a.astype(np.float64) - b for a, b in zip(leaves, wanted_leaves, strict=True)])
  of_loss = abs(float(loss) - float(wanted_loss)) / abs(float(wanted_loss))
  of_gradients = apart / norm(wanted_leaves)
  return {
    "loss": float(loss),
    "loss_apart": of_loss,
    "gradients_apart": of_gradients,
    "agrees": bool(of_loss <= tolerances[0] and of_gradients <= tolerances[1]),
  }


if __name__ == "__main__":
  main()

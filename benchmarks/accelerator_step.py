"""Compares loss and gradients of a training step on an accelerator with those on the CPU.

  python benchmarks/accelerator_step.py
  python benchmarks/accelerator_step.py --size tiny

Uses random parameters and tokens, and batch rows of one example and of eight. Both must agree to
rounding in float32 (matrix products with precision "highest"), and to eight bits in bfloat16 with
each attention backend. The exit code is 1 if a case does not agree. Needs neither TensorFlow nor
data. The result is in benchmarks/results/accelerator_step-MACHINE.json.
"""

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
  import jax

  from audiopalm.models.base import Model

# The CPU must be available beside the accelerator.
platforms = os.environ.get("JAX_PLATFORMS", "")
if platforms and "cpu" not in platforms.split(","):
  os.environ["JAX_PLATFORMS"] = f"{platforms},cpu"

import score  # noqa: E402
import steps  # noqa: E402

VOCABULARY = 2_048
SIZES = {  # and lengths of batch rows
  "tiny": (steps.LlamaSize(2, 128, 256), 128),
  "small": (steps.LlamaSize(4, 512, 1_408), 512),
}
BATCH_ROWS = 4
PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy")
# Relative tolerances of the loss, and of the norm of the gradients' difference.
TOLERANCES = {"float32": (1e-5, 1e-4), "bfloat16": (5e-3, 3e-2)}


def main() -> None:
  parser = score.command_parser(__doc__)
  parser.add_argument("--size", choices=SIZES, default="small")
  parser.add_argument("--attention", default="xla,cudnn", help="backends to test on an accelerator")
  arguments = parser.parse_args()
  import jax

  device = jax.devices()[0]
  backends = arguments.attention.split(",") if device.platform != "cpu" else ["xla"]
  cases = [("float32", "xla"), *(("bfloat16", name) for name in backends)]
  results = []
  for segments in (1, 8):
    expected = computed(jax.devices("cpu")[0], arguments.size, segments, "float32", "xla")
    for dtype, attention in cases:
      case = {"segments": segments, "compute_dtype": dtype, "attention": attention}
      try:
        actual = computed(device, arguments.size, segments, dtype, attention)
        case |= differences(expected, actual, TOLERANCES[dtype])
      except Exception as error:  # a kernel that cannot run: the other cases continue
        case["failed"] = f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"
      results.append(case)
      print(case, flush=True)
  kind = steps.accelerator()
  head = {"command": score.command(__file__), **score.conditions(PACKAGES, kind)}
  result = {**head, "cases": results}
  score.write(f"accelerator_step-{score.machine_name(kind)}", result)
  raise SystemExit(0 if all(case.get("agrees") for case in results) else 1)


def computed(
  device: "jax.Device", size: str, segments: int, dtype: str, attention: str
) -> tuple[Any, Any]:
  """Returns (loss, gradients) of a batch on one device, as numpy arrays."""
  import jax

  from audiopalm import sharding
  from audiopalm.nn import attention as backends
  from audiopalm.objectives.next_token import NextToken
  from audiopalm.settings import Machine

  backends.check(attention, device.platform)
  shape, row_length = SIZES[size]
  model = shape.settings.build(steps.space_of(VOCABULARY))
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
      lambda array, shape: jax.device_put(array, shape.sharding), random_params(model, mesh),
      model.shapes(mesh),
    )  # fmt: skip
    return jax.device_get(jax.jit(jax.value_and_grad(mean))(params, placed))


def random_params(model: "Model", mesh: "jax.sharding.Mesh") -> Any:
  """Returns random parameters, equal on every device."""
  import jax
  import numpy as np

  random = np.random.default_rng(0)

  def sample(path, shape):
    if path[-1].key == "scale":
      return np.ones(shape.shape, np.float32)
    return (0.05 * random.standard_normal(shape.shape)).astype(np.float32)

  return jax.tree_util.tree_map_with_path(sample, model.shapes(mesh))


def differences(
  expected: tuple[Any, Any], actual: tuple[Any, Any], tolerances: tuple[float, float]
) -> dict[str, Any]:
  """Returns the differences of (loss, gradients) and whether they are within tolerance."""
  import jax
  import numpy as np

  def norm(arrays):
    return float(np.sqrt(sum(np.sum(np.square(a, dtype=np.float64)) for a in arrays)))

  (expected_loss, actual_loss), trees = zip(expected, actual, strict=True)
  expected_leaves, actual_leaves = (jax.tree.leaves(tree) for tree in trees)
  pairs = zip(actual_leaves, expected_leaves, strict=True)
  loss_difference = abs(float(actual_loss) - float(expected_loss)) / abs(float(expected_loss))
  difference = norm([a.astype(np.float64) - b for a, b in pairs]) / norm(expected_leaves)
  return {
    "loss": float(actual_loss),
    "loss_apart": loss_difference,
    "gradients_apart": difference,
    "agrees": bool(loss_difference <= tolerances[0] and difference <= tolerances[1]),
  }


if __name__ == "__main__":
  main()

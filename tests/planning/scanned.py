"""A model of scanned layers and a head, compiled for a mesh; as a program, for eight TPUs."""

import pathlib
import sys

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from audiopalm import settings, sharding

ROWS = ("data", "fsdp")


def step_text(mesh: jax.sharding.Mesh, layers: int) -> str:
  """Returns the optimized HLO of its gradient; kernels are split over fsdp and tensor."""

  def loss(params, x_BD):
    def layer(x_BD, kernel_DF):
      kernel_DF = jax.sharding.reshard(kernel_DF, P(None, "tensor"))
      hidden_BF = jnp.einsum("BD,DF->BF", x_BD, kernel_DF, out_sharding=P(ROWS, "tensor"))
      return jnp.einsum("BF,DF->BD", jnp.tanh(hidden_BF), kernel_DF, out_sharding=P(ROWS)), None

    x_BD, _ = jax.lax.scan(layer, x_BD, params["layers"])
    head_DV = jax.sharding.reshard(params["head"], P(None, "tensor"))
    logits_BV = jnp.einsum("BD,DV->BV", x_BD, head_DV, out_sharding=P(ROWS, "tensor"))
    return jnp.mean(jnp.square(logits_BV))

  def shaped(shape, *split):
    return jax.ShapeDtypeStruct(shape, jnp.float32, sharding=NamedSharding(mesh, P(*split)))

  params = {
    "layers": shaped((layers, 128, 256), None, "fsdp", "tensor"),
    "head": shaped((128, 512), "fsdp", "tensor"),
  }
  with jax.set_mesh(mesh):
    return jax.jit(jax.grad(loss)).lower(params, shaped((64, 128), ROWS)).compile().as_text()


if __name__ == "__main__":
  from jax.experimental import topologies

  topology = topologies.get_topology_desc(platform="tpu", topology_name="v5e:2x4")
  tpus = sharding.mesh(settings.Machine(data=1, fsdp=4, tensor=2), tuple(topology.devices))
  for number in (3, 6):
    pathlib.Path(sys.argv[1], f"{number}.txt").write_text(step_text(tpus, number))

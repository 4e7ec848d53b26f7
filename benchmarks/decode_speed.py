"""Greedy decoding of ours beside `generate` of `transformers`, with the same weights and prompts.

  python benchmarks/decode_speed.py
  python benchmarks/decode_speed.py --sizes 4M --repeats 3
  python benchmarks/decode_speed.py --contenders ours,ours_bfloat16     # without PyTorch

Shapes of a Llama with a tied table, in float32 and in bfloat16 (ours where the device has such
products; of `transformers` all parameters are cast); 8 prompts of 64 rows, 256 rows decoded for
each; the stop is forbidden to all, so that all make them all. A repeat is one whole call, the pass
over the prompts in it; each has made that call once before, so that nothing is compiled in it. A
contender is a process of its own, and they take turns. `transformers` needs audiopalm[export]. In
float32 both must decode the same ids at first. Results are in
benchmarks/results/decode_speed-MACHINE.json.
"""

import argparse
import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import contenders
import figures
import numpy as np
import score

VOCABULARY = 4_096  # ids, of which sep and stop are the last two
SPECIALS = 2
PROMPTS, PROMPT_ROWS, NEW_ROWS = 8, 64, 256
HEAD_WIDTH = 64
SURE_ROWS = 16  # that must be the same in both: a near tie may part them later
SEED = 0
PACKAGES = ("jax", "jaxlib", "numpy")
THEIRS = ("torch", "transformers")
NAMES = {
  "ours": "ours",
  "ours_bfloat16": "ours, bfloat16 products",
  "transformers": "transformers",
  "transformers_bfloat16": "transformers, bfloat16",
}
TITLE = "Decoding"


@dataclasses.dataclass(frozen=True)
class Size:
  """Shapes of a Llama with heads of 64."""

  layers: int
  width: int
  hidden: int


SIZES = {"tiny": Size(2, 128, 256), "4M": Size(4, 256, 704), "16M": Size(8, 384, 1_056)}
MEASURED = ("4M", "16M")


def main() -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--sizes", default=",".join(MEASURED), help=f"of {', '.join(SIZES)}")
  parser.add_argument(
    "--contenders",
    default=",".join(name for name in NAMES if name != "ours_bfloat16" or _has_bfloat16()),
    help="default: all that this device has the products for",
  )
  parser.add_argument("--repeats", type=int, default=7)
  parser.add_argument("--worker", nargs=2, metavar=("NAME", "SIZE"), help=argparse.SUPPRESS)
  arguments = parser.parse_args()
  if arguments.worker:
    name, size = arguments.worker
    return contenders.serve(functools.partial(answer, CONTENDERS[name](SIZES[size])))

  names = ["ours", *(name for name in arguments.contenders.split(",") if name != "ours")]
  sizes = {size: compare(size, names, arguments.repeats) for size in arguments.sizes.split(",")}
  device = [found.pop("device") for found in sizes.values()][0]
  packages = PACKAGES + (THEIRS if any(name.startswith("transformers") for name in names) else ())
  about = {"command": score.command(__file__), **score.conditions(packages, device)}
  result = {**about, "flags": score.flags(), "sizes": sizes}
  score.write(f"decode_speed-{score.machine_name(device)}", result)


def compare(size: str, names: list[str], repeats: int) -> dict:
  """Returns the figures of the contenders at one size, saying them as they come."""
  workers = {name: contenders.Worker(__file__, "--worker", name, size) for name in names}
  first = {name: worker.ask() for name, worker in workers.items()}
  for name, one in first.items():
    print(f"{size}, {name}: {one['seconds']:.2f} s for the first call", flush=True)
  same = {}
  for name, one in first.items():
    share, agreed = agreement(np.array(first["ours"]["tokens"]), np.array(one["tokens"]))
    same[name] = {"tokens": round(share, 4), "rows": agreed}
    print(
      f"{size}, {name}: {100 * share:.1f} % of tokens as ours, the first {agreed} rows all",
      flush=True,
    )
    if name == "transformers" and agreed < SURE_ROWS:
      raise SystemExit(f"The contenders part after {agreed} rows: they do not compute the same.")
  tokens_per_s: dict[str, list[float]] = {name: [] for name in workers}
  for _ in range(repeats):
    for name, worker in workers.items():
      tokens_per_s[name].append(PROMPTS * NEW_ROWS / worker.ask()["seconds"])
  for worker in workers.values():
    worker.close()
  found = {name: figures.spread(values, 1) for name, values in tokens_per_s.items()}
  for name, one in found.items():
    print(f"{size}, {name}: {figures.shown(one)} tokens a second", flush=True)
  return {
    **dataclasses.asdict(SIZES[size]),
    "parameters": first["ours"]["parameters"],
    "tokens_per_s": found,
    "same": same,
    "device": first["ours"]["device"],
  }


def agreement(ours_BR: np.ndarray, theirs_BR: np.ndarray) -> tuple[float, int]:
  """Returns (share of equal tokens, rows before the first that differ in any prompt)."""
  same_BR = ours_BR == theirs_BR
  return float(same_BR.mean()), int(same_BR.all(axis=0).cumprod().sum())


def answer(contender: tuple[dict, Callable[[], np.ndarray]]) -> dict:
  about, generate = contender
  new_BR, seconds = contenders.timed(generate)
  return {**about, "tokens": new_BR.tolist(), "seconds": seconds}


def ours(size: Size, bfloat16: bool = False) -> tuple[dict, Callable[[], np.ndarray]]:
  """Returns what our contender is, and the function that decodes the prompts."""
  import jax

  from audiopalm import sharding
  from audiopalm.inference import decode
  from audiopalm.inference.sampling import Sampling
  from audiopalm.layouts import incremental
  from audiopalm.parts import machines
  from audiopalm.types import Grid

  settings, layout, space = network(size)
  machine = machines.default()
  if not bfloat16:
    machine = dataclasses.replace(machine, compute_dtype="float32")
  elif machine.compute_dtype == "float32":  # a CPU
    machine = dataclasses.replace(machine, product_dtype="bfloat16")
  model = settings.build(space)
  shapes = model.shapes(sharding.mesh(machine))
  params = jax.tree.map(lambda array, where: jax.device_put(array, where.sharding),
                        weights(size), shapes)  # fmt: skip
  plan = incremental.compile(layout, space)
  endless = dataclasses.replace(plan, allowed_SKC=plan.allowed_SKC & ~plan.ends_KC)
  nothing = np.zeros((PROMPT_ROWS, 1), np.float32), np.zeros(PROMPT_ROWS, np.int32)
  grids = [Grid(tokens_L[:, None], *nothing) for tokens_L in prompts()]

  def generate() -> np.ndarray:
    found = decode.decode(
      model, params, grids, endless, space,
      sampling=Sampling(), max_rows=NEW_ROWS, key=jax.random.key(SEED), machine=machine,
    )  # fmt: skip
    return np.stack([one.tokens_LK[PROMPT_ROWS:, 0] for one in found])

  device = jax.devices()[0]
  kind = None if device.platform == "cpu" else device.device_kind
  return {"parameters": settings.parameters(space), "device": kind}, generate


def transformers(size: Size, bfloat16: bool = False) -> tuple[dict, Callable[[], np.ndarray]]:
  """Returns what the other contender is, and the function that decodes the prompts."""
  import torch
  from transformers import LlamaConfig, LlamaForCausalLM

  from audiopalm.models.pytorch import stock as stocks
  from audiopalm.models.pytorch import weights as exported

  settings, _, space = network(size)
  stock = stocks.find(settings, space.columns, both_ways=False)
  config = stocks.config(stock, settings, VOCABULARY, VOCABULARY - 1, PROMPT_ROWS + NEW_ROWS)
  model = LlamaForCausalLM(LlamaConfig(**config | {"eos_token_id": None, "pad_token_id": None}))
  tensors, _ = exported.to_torch(weights(size), settings, space, stock)
  missing, unexpected = model.load_state_dict(
    {name: torch.from_numpy(array) for name, array in tensors.items()}, strict=False
  )
  assert missing == ["lm_head.weight"] and not unexpected, (missing, unexpected)  # it is tied
  device = "cuda" if torch.cuda.is_available() else "cpu"
  model = model.eval().to(device, torch.bfloat16 if bfloat16 else torch.float32)
  ids_BL = torch.from_numpy(prompts()).long().to(device)

  def generate() -> np.ndarray:
    found_BL = model.generate(
      ids_BL, attention_mask=torch.ones_like(ids_BL),
      do_sample=False, use_cache=True, max_new_tokens=NEW_ROWS,
    )  # fmt: skip
    return found_BL[:, PROMPT_ROWS:].cpu().numpy()

  return {}, generate


CONTENDERS = {
  "ours": ours,
  "ours_bfloat16": functools.partial(ours, bfloat16=True),
  "transformers": transformers,
  "transformers_bfloat16": functools.partial(transformers, bfloat16=True),
}


def _has_bfloat16() -> bool:
  """Returns whether this device multiplies bfloat16 faster; JAX is asked last."""
  if score.multiplies_bfloat16():
    return True
  import jax

  return jax.default_backend() != "cpu"


def network(size: Size) -> tuple[Any, Any, Any]:
  """Returns (settings, layout, token space): text alone, in a vocabulary of VOCABULARY ids."""
  from audiopalm import layouts
  from audiopalm.models import decoder
  from audiopalm.tokens import space as token_space
  from audiopalm.types import StreamSpec

  heads = size.width // HEAD_WIDTH
  settings = decoder.Decoder(
    layers=size.layers, width=size.width, heads=heads, kv_heads=heads, head_width=HEAD_WIDTH,
    hidden=size.hidden,
  )  # fmt: skip
  text = StreamSpec("text", "text", (VOCABULARY - SPECIALS,), None, "")
  layout = layouts.Concat(layouts.Tag("[TEXT]"), layouts.Flat("source.text"), layouts.Stop())
  return settings, layout, token_space.build((text,), {"text": layout}, lambda tag: [1])


def weights(size: Size) -> dict:
  """Returns random parameters of which greedy decoding repeats nothing: the branches weigh more
  than the embedding of the row before, as in a trained model. The specials are never the best."""
  import jax

  from audiopalm import sharding
  from audiopalm.settings import Machine

  settings, _, space = network(size)
  model = settings.build(space)
  random = np.random.default_rng(SEED)

  def draw(path, shaped):
    match path[-1].key:
      case "scale":
        return np.ones(shaped.shape, np.float32)
      case "table":
        table_VD = 0.02 * random.standard_normal(shaped.shape, np.float32)
        table_VD[VOCABULARY - SPECIALS :] = 0
        return table_VD
      case name:
        into = np.prod(shaped.shape[1:3] if name == "out" else shaped.shape[1:2])
        return (2 * into**-0.5 * random.standard_normal(shaped.shape)).astype(np.float32)

  mesh = sharding.mesh(Machine(fsdp=1))
  return jax.tree_util.tree_map_with_path(draw, model.shapes(mesh))


def prompts() -> np.ndarray:
  """Returns the random ids of the prompts, int32 [B, L]."""
  random = np.random.default_rng(SEED + 1)
  return random.integers(VOCABULARY - SPECIALS, size=(PROMPTS, PROMPT_ROWS), dtype=np.int32)


def section(results: list[dict]) -> str:
  """Returns the section of docs/performance.md; see render.py."""
  rows = []
  for result in results:
    for size, found in result["sizes"].items():
      medians = {name: one["median"] for name, one in found["tokens_per_s"].items()}
      best = max(value for name, value in medians.items() if name.startswith("ours"))
      rows += [
        (
          result["on"],
          f"{size}, {found['layers']} x {found['width']}",
          NAMES[name],
          figures.shown(one),
          "" if name.startswith("ours") else f"{medians['ours'] / one['median']:.2f}",
          "" if name.startswith("ours") else f"{best / one['median']:.2f}",
          "" if name == "ours" else f"{100 * found['same'][name]['tokens']:.1f} %",
        )
        for name, one in found["tokens_per_s"].items()
      ]
  header = (
    "machine", "model, layers x width", "contender", "tokens a second", "ours / it",
    "our fastest / it", "same tokens",
  )  # fmt: skip
  without = [result["on"] for result in results if not _with_bfloat16(result)]
  left_out = (
    f"Ours in bfloat16 was left out on {', '.join(without)}, whose CPU has no such products."
  )
  text = figures.paragraph(f"""
    Tokens a second of greedy decoding, in float32 unless said otherwise, {PROMPTS} prompts of
    {PROMPT_ROWS} rows at once and {NEW_ROWS} new rows for each: our `inference.decode` and
    `LlamaForCausalLM.generate` of `transformers` with its cache, not compiled. All have the same
    random weights, prompts and vocabulary of {VOCABULARY:,} ids; *same tokens* says how many of the
    decoded ids are those of ours in float32 (near ties may part them). A call includes the pass
    over the prompts, and nothing is compiled in it. {left_out if without else ""}
  """)
  holds = figures.paragraph("""
    What holds the rest, by a profile (perf record) of the 16M model on xeon-2-cores: a third of the
    time are products of one row with a cache, which XLA runs on one thread; the others multiply
    eight rows by a matrix that is read anew each time, and two threads hardly do that faster than
    one. Merged projections (one product for queries, keys and values) gained nothing.
  """)
  return f"{text}\n\n{figures.table(header, rows, 3)}\n\n{holds}\n"


def _with_bfloat16(result: dict) -> bool:
  return any("ours_bfloat16" in found["tokens_per_s"] for found in result["sizes"].values())


if __name__ == "__main__":
  main()

"""Compares our greedy decoding with `generate` of `transformers`, with equal weights and prompts.

  python benchmarks/decode_speed.py
  python benchmarks/decode_speed.py --sizes 4M --repeats 3
  python benchmarks/decode_speed.py --contenders ours,ours_bfloat16     # without PyTorch

Both use Llama shapes with a tied embedding, in float32 and in bfloat16 (ours where the device has
bfloat16 products; `transformers` casts all parameters), 8 prompts of 64 rows, and 256 decoded rows
for each; the stop id is masked, so no answer is shorter. A repeat is one call, including prefill,
after a first call that compiles. Each contender is a process, and they take turns. `transformers`
needs audiopalm[export]. In float32 the first decoded ids of both must be equal. Results are in
benchmarks/results/decode_speed-MACHINE.json.
"""

import argparse
import dataclasses
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import contenders
import figures
import numpy as np
import score
import steps

if TYPE_CHECKING:
  from audiopalm.layouts import Concat
  from audiopalm.models.decoder import Decoder
  from audiopalm.tokens.space import TokenSpace

VOCABULARY = 4_096  # ids, with sep and stop at the end
PROMPTS, PROMPT_ROWS, NEW_ROWS = 8, 64, 256
SURE_ROWS = 16  # that must be equal in both: near ties may separate them later
SEED = 0
PACKAGES = ("jax", "jaxlib", "numpy")
TORCH_PACKAGES = ("torch", "transformers")
NAMES = {
  "ours": "ours",
  "ours_bfloat16": "ours, bfloat16 products",
  "transformers": "transformers",
  "transformers_bfloat16": "transformers, bfloat16",
}
TITLE = "Decoding"

Contender = tuple[dict[str, Any], Callable[[], np.ndarray]]  # facts, and the call that decodes


MEASURED = ("4M", "16M")


def main() -> None:
  parser = score.command_parser(__doc__)
  parser.add_argument("--sizes", default=",".join(MEASURED), help=f"of {', '.join(steps.SIZES)}")
  parser.add_argument(
    "--contenders",
    default=",".join(name for name in NAMES if name != "ours_bfloat16" or _has_bfloat16()),
    help="in addition to ours (default: all that this device supports)",
  )
  parser.add_argument("--repeats", type=int, default=7)
  parser.add_argument("--worker", nargs=2, metavar=("NAME", "SIZE"), help=argparse.SUPPRESS)
  arguments = parser.parse_args()
  if arguments.worker:
    name, size = arguments.worker
    return contenders.serve(functools.partial(answer, CONTENDERS[name](steps.SIZES[size])))

  names = ["ours", *(name for name in arguments.contenders.split(",") if name != "ours")]
  sizes = {size: compare(size, names, arguments.repeats) for size in arguments.sizes.split(",")}
  device = [result.pop("device") for result in sizes.values()][0]
  packages = PACKAGES + (
    TORCH_PACKAGES if any(name.startswith("transformers") for name in names) else ()
  )
  head = {"command": score.command(__file__), **score.conditions(packages, device)}
  result = {**head, "flags": score.flags(), "sizes": sizes}
  score.write(f"decode_speed-{score.machine_name(device)}", result)


def compare(size: str, names: list[str], repeats: int) -> dict[str, Any]:
  """Returns the figures of the contenders at one size, and prints them."""
  workers = {name: contenders.Worker(__file__, "--worker", name, size) for name in names}
  first = {name: worker.ask() for name, worker in workers.items()}
  for name, answer_ in first.items():
    print(f"{size}, {name}: {answer_['seconds']:.2f} s for the first call", flush=True)
  same = {}
  for name, answer_ in first.items():
    share, agreed = agreement(np.array(first["ours"]["tokens"]), np.array(answer_["tokens"]))
    same[name] = {"tokens": round(share, 4), "rows": agreed}
    print(
      f"{size}, {name}: {100 * share:.1f} % of tokens equal ours, all in the first {agreed} rows",
      flush=True,
    )
    if name == "transformers" and agreed < SURE_ROWS:
      raise SystemExit(
        f"The contenders differ after {agreed} rows, so they compute different models."
      )
  tokens_per_s: dict[str, list[float]] = {name: [] for name in workers}
  for _ in range(repeats):
    for name, worker in workers.items():
      tokens_per_s[name].append(PROMPTS * NEW_ROWS / worker.ask()["seconds"])
  for worker in workers.values():
    worker.close()
  rates = {name: figures.spread(values, 1) for name, values in tokens_per_s.items()}
  for name, rate in rates.items():
    print(f"{size}, {name}: {figures.shown(rate)} tokens/s", flush=True)
  return {
    **dataclasses.asdict(steps.SIZES[size]),
    "parameters": first["ours"]["parameters"],
    "tokens_per_s": rates,
    "same": same,
    "device": first["ours"]["device"],
  }


def agreement(tokens_BR: np.ndarray, other_BR: np.ndarray) -> tuple[float, int]:
  """Returns (share of equal tokens, rows before the first difference in any prompt)."""
  equal_BR = tokens_BR == other_BR
  return float(equal_BR.mean()), int(equal_BR.all(axis=0).cumprod().sum())


def answer(contender: Contender) -> dict[str, Any]:
  facts, generate = contender
  new_BR, seconds = contenders.timed(generate)
  return {**facts, "tokens": new_BR.tolist(), "seconds": seconds}


def ours(size: steps.LlamaSize, bfloat16: bool = False) -> Contender:
  """Returns our contender."""
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
  params = jax.tree.map(lambda array, shape: jax.device_put(array, shape.sharding),
                        weights(size), shapes)  # fmt: skip
  plan = incremental.compile(layout, space)
  endless = dataclasses.replace(plan, allowed_SKC=plan.allowed_SKC & ~plan.ends_KC)
  zeros = np.zeros((PROMPT_ROWS, 1), np.float32), np.zeros(PROMPT_ROWS, np.int32)
  grids = [Grid(tokens_L[:, None], *zeros) for tokens_L in prompts()]

  def generate() -> np.ndarray:
    decoded = decode.decode(
      model, params, grids, endless,
      sampling=Sampling(), max_rows=NEW_ROWS, key=jax.random.key(SEED), machine=machine,
    )  # fmt: skip
    return np.stack([grid.tokens_LK[PROMPT_ROWS:, 0] for grid in decoded])

  facts = {"parameters": settings.parameters(space), "device": steps.accelerator()}
  return facts, generate


def transformers(size: steps.LlamaSize, bfloat16: bool = False) -> Contender:
  """Returns the contender of `transformers`."""
  import torch
  from transformers import LlamaConfig, LlamaForCausalLM

  from audiopalm.models.pytorch.exported import Exported

  settings, _, space = network(size)
  exported = Exported(settings, space)
  config = exported.config(VOCABULARY - 1, PROMPT_ROWS + NEW_ROWS)
  model = LlamaForCausalLM(LlamaConfig(**config | {"eos_token_id": None, "pad_token_id": None}))
  tensors, _ = exported.tensors(weights(size))
  missing, unexpected = model.load_state_dict(
    {name: torch.from_numpy(array) for name, array in tensors.items()}, strict=False
  )
  assert missing == ["lm_head.weight"] and not unexpected, (missing, unexpected)  # tied
  device = "cuda" if torch.cuda.is_available() else "cpu"
  model = model.eval().to(device, torch.bfloat16 if bfloat16 else torch.float32)
  ids_BL = torch.from_numpy(prompts()).long().to(device)

  def generate() -> np.ndarray:
    tokens_BL = model.generate(
      ids_BL, attention_mask=torch.ones_like(ids_BL),
      do_sample=False, use_cache=True, max_new_tokens=NEW_ROWS,
    )  # fmt: skip
    return tokens_BL[:, PROMPT_ROWS:].cpu().numpy()

  return {}, generate


CONTENDERS = {
  "ours": ours,
  "ours_bfloat16": functools.partial(ours, bfloat16=True),
  "transformers": transformers,
  "transformers_bfloat16": functools.partial(transformers, bfloat16=True),
}


def _has_bfloat16() -> bool:
  """Returns whether this device multiplies bfloat16 faster; imports JAX only if needed."""
  if score.multiplies_bfloat16():
    return True
  import jax

  return jax.default_backend() != "cpu"


def network(size: steps.LlamaSize) -> tuple["Decoder", "Concat", "TokenSpace"]:
  """Returns (settings, layout, token space) of text with a vocabulary of VOCABULARY ids."""
  from audiopalm import layouts
  from audiopalm.tokens import space as token_space
  from audiopalm.types import StreamSpec

  text = StreamSpec("text", "text", (VOCABULARY - steps.SPECIALS,), None, "")
  layout = layouts.Concat(layouts.Tag("[TEXT]"), layouts.Flat("source.text"), layouts.Stop())
  return size.settings, layout, token_space.build((text,), {"text": layout}, lambda tag: [1])


def weights(size: steps.LlamaSize) -> dict[str, Any]:
  """Returns random parameters with which greedy decoding does not repeat itself.

  Layers contribute more than the embedding of the previous row, as in a trained model, and the
  specials never have the highest logit.
  """
  import jax

  from audiopalm import sharding
  from audiopalm.settings import Machine

  settings, _, space = network(size)
  model = settings.build(space)
  random = np.random.default_rng(SEED)

  def sample(path, shape):
    match path[-1].key:
      case "scale":
        return np.ones(shape.shape, np.float32)
      case "table":
        table_VD = 0.02 * random.standard_normal(shape.shape, np.float32)
        table_VD[VOCABULARY - steps.SPECIALS :] = 0
        return table_VD
      case name:
        fan_in = np.prod(shape.shape[1:3] if name == "out" else shape.shape[1:2])
        return (2 * fan_in**-0.5 * random.standard_normal(shape.shape)).astype(np.float32)

  mesh = sharding.mesh(Machine(fsdp=1))
  return jax.tree_util.tree_map_with_path(sample, model.shapes(mesh))


def prompts() -> np.ndarray:
  """Returns the random ids of the prompts, int32 [B, L]."""
  random = np.random.default_rng(SEED + 1)
  return random.integers(VOCABULARY - steps.SPECIALS, size=(PROMPTS, PROMPT_ROWS), dtype=np.int32)


def section(results: list[dict[str, Any]]) -> str:
  """Returns the section of docs/performance.md; see render.py."""
  rows = []
  for result in results:
    for size, values in result["sizes"].items():
      medians = {name: rate["median"] for name, rate in values["tokens_per_s"].items()}
      best = max(value for name, value in medians.items() if name.startswith("ours"))
      rows += [
        (
          result["on"],
          f"{size}, {values['layers']} x {values['width']}",
          NAMES[name],
          figures.shown(rate),
          "" if name.startswith("ours") else f"{medians['ours'] / rate['median']:.2f}",
          "" if name.startswith("ours") else f"{best / rate['median']:.2f}",
          "" if name == "ours" else f"{100 * values['same'][name]['tokens']:.1f} %",
        )
        for name, rate in values["tokens_per_s"].items()
      ]
  header = (
    "machine", "model, layers x width", "contender", "tokens/s", "our speedup",
    "our best speedup", "equal tokens",
  )  # fmt: skip
  without = [result["on"] for result in results if not _with_bfloat16(result)]
  not_measured = (
    f"Ours in bfloat16 was not measured on {', '.join(without)}, whose CPU has no such products."
  )
  text = figures.paragraph(f"""
    Tokens per second of greedy decoding, in float32 except where noted, for a batch of {PROMPTS}
    prompts of {PROMPT_ROWS} rows with {NEW_ROWS} new rows each: our `inference.decode`, and
    `LlamaForCausalLM.generate` of `transformers` with its cache, not compiled. All use the same
    random weights, prompts and vocabulary of {VOCABULARY:,} ids. *Our speedup* is the ratio of
    our tokens per second to that contender's, with *best* for our fastest contender. *Equal tokens*
    is the share of decoded ids equal to ours in float32, where near ties may cause differences. The
    time includes prefill and excludes compilation. {not_measured if without else ""}
  """)
  profile = figures.paragraph("""
    Where the time goes (perf record) in the 16M model on xeon-2-cores: a third of the time is spent
    in products of one row with a cache, which XLA runs on one thread. The other products multiply
    eight rows by a matrix that must be read from memory each time, which two threads hardly do
    faster than one. Merging the query, key and value projections into one product gave no speedup.
  """)
  return f"{text}\n\n{figures.table(header, rows, 3)}\n\n{profile}\n"


def _with_bfloat16(result: dict[str, Any]) -> bool:
  return any("ours_bfloat16" in size["tokens_per_s"] for size in result["sizes"].values())


if __name__ == "__main__":
  main()

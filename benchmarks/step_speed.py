"""A training step of ours beside one of `transformers` in PyTorch, on the same machine and shapes.

  python benchmarks/step_speed.py
  python benchmarks/step_speed.py --sizes 4M --repeats 3

Same Llama shapes, rows, AdamW and clipping of the gradient norm; random tokens, one example a row.
Every contender is a process of its own, asked for a few steps in turn, so that none computes while
another is timed. The matrix products that a machine can do are measured in the same way, in float32
and at the largest shape of each model. Results are in benchmarks/results/step_speed-MACHINE.json.
"""

import argparse
import dataclasses
import json
import os
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import score

VOCABULARY = 4_096
ROW_LENGTH = 512
LEARNING_RATE = 1e-4
PACKAGES = ("jax", "flax", "optax", "numpy", "torch", "transformers")


@dataclasses.dataclass(frozen=True)
class Size:
  """Shapes of a Llama with heads of 64 and a tied table, and how many rows a step takes."""

  layers: int
  width: int
  hidden: int
  batch_rows: int = 8


SIZES = {"4M": Size(4, 256, 704), "16M": Size(8, 384, 1_056), "42M": Size(12, 512, 1_472)}
CONTENDERS = {
  "ours": "ours, float32",
  "torch_eager": "transformers, float32, eager",
  "torch_compiled": "transformers, float32, torch.compile",
  "torch_bfloat16": "transformers, bfloat16 autocast, eager",
}


def main() -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--sizes", default=",".join(SIZES))
  parser.add_argument("--contenders", default=",".join(CONTENDERS))
  parser.add_argument("--repeats", type=int, default=7)
  parser.add_argument("--steps", type=int, default=3, help="steps of a repeat")
  parser.add_argument("--worker", nargs=2, metavar=("NAME", "SIZE"), help=argparse.SUPPRESS)
  arguments = parser.parse_args()
  if arguments.worker:
    name, size = arguments.worker
    return serve(WORKERS[name](SIZES[size]))

  result = {
    "command": shlex.join(["python", "benchmarks/step_speed.py", *sys.argv[1:]]),
    **score.conditions(PACKAGES),
    "row_length": ROW_LENGTH,
    "vocabulary": VOCABULARY,
    "sizes": {},
  }
  for size in arguments.sizes.split(","):
    result["sizes"][size] = compare(
      size, arguments.contenders.split(","), arguments.repeats, arguments.steps
    )
    print(json.dumps(result["sizes"][size], indent=1), flush=True)
  score.write("step_speed-trial", result)


def compare(size: str, names: list[str], repeats: int, steps: int) -> dict:
  """Returns the figures of all contenders at one size, measured in turn."""
  workers = {name: Worker(name, size) for name in (*names, "matmul")}
  parameters = {name: worker.ask({"about": True}) for name, worker in workers.items()}
  seconds = {name: [] for name in workers}
  for repeat in range(repeats + 1):
    for name, worker in workers.items():
      step_s = worker.ask({"steps": steps})
      if repeat:  # the first warms up
        seconds[name].append(step_s)
  for worker in workers.values():
    worker.close()
  tokens = SIZES[size].batch_rows * ROW_LENGTH
  peak = parameters["matmul"]["flops"] / statistics.median(seconds.pop("matmul"))
  found = {}
  for name, times in seconds.items():
    middle = statistics.median(times)
    found[name] = {
      "what": CONTENDERS[name],
      "step_s": round(middle, 4),
      "step_s_all": [round(one, 4) for one in times],
      "tokens_per_s": round(tokens / middle),
      "of_matmul_peak": round(parameters["ours"]["flops"] / middle / peak, 3),
    }
  return {
    **dataclasses.asdict(SIZES[size]),
    "parameters": parameters["ours"]["parameters"],
    "model_gflop_per_step": round(parameters["ours"]["flops"] / 1e9, 1),
    "matmul_gflop_per_s": round(peak / 1e9, 1),
    "contenders": found,
    "ours_over": {
      name: round(found[name]["step_s"] / found["ours"]["step_s"], 2)
      for name in found
      if name != "ours"
    },
  }


class Worker:
  """A contender in a process of its own, which answers one JSON line with another."""

  def __init__(self, name: str, size: str):
    command = [sys.executable, str(Path(__file__).resolve()), "--worker", name, size]
    self._process = subprocess.Popen(
      command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    self._name = name

  def ask(self, question: dict):
    self._process.stdin.write(json.dumps(question) + "\n")
    self._process.stdin.flush()
    answer = self._process.stdout.readline()
    if not answer:
      raise SystemExit(f"The contender {self._name} ended with {self._process.wait()}.")
    return json.loads(answer)

  def close(self) -> None:
    self._process.stdin.close()
    self._process.wait()


def serve(contender: tuple[dict, Callable[[int], None]]) -> None:
  """Answers questions until the input ends: {"about"} or {"steps": n}, with seconds a step."""
  about, run = contender
  answers = os.fdopen(os.dup(1), "w")
  os.dup2(2, 1)  # what libraries print must not be taken for an answer
  for line in sys.stdin:
    question = json.loads(line)
    if "about" in question:
      answer = about
    else:
      start_s = time.perf_counter()
      run(question["steps"])
      answer = (time.perf_counter() - start_s) / question["steps"]
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


def ours(size: Size):
  """Returns what our training step is, and a function that takes n of them."""
  import jax
  import numpy as np

  from audiopalm import sharding
  from audiopalm.batch import Batch
  from audiopalm.models import decoder
  from audiopalm.objectives.next_token import NextToken
  from audiopalm.parts import machines
  from audiopalm.settings import Optimizer
  from audiopalm.tokens import space as token_space
  from audiopalm.training import optimizers, state, step
  from audiopalm.types import StreamSpec

  heads = size.width // 64
  settings = decoder.Decoder(
    layers=size.layers, width=size.width, heads=heads, kv_heads=heads, head_width=64,
    hidden=size.hidden,
  )  # fmt: skip
  text = StreamSpec("text", "text", (VOCABULARY - 128,), None, "")
  space = token_space.build((text,), {}, lambda string: [1])
  machine = machines.default()
  mesh = sharding.mesh(machine)
  tokens_BL = _tokens(size)
  ones_BL = np.ones_like(tokens_BL)
  batch = Batch(
    tokens_BLK=tokens_BL[..., None],
    weights_BLK=np.ones((*tokens_BL.shape, 1), np.float32),
    segments_BL=ones_BL,
    positions_BL=np.arange(ROW_LENGTH, dtype=np.int32) * ones_BL,
    visible_BL=0 * ones_BL,
    task_B=np.zeros(size.batch_rows, np.int32),
  )
  objective, model = NextToken(), decoder.model(settings, space)
  chain = optimizers.build(Optimizer(peak_lr=LEARNING_RATE, decay="constant"), 10**6)
  jax.set_mesh(mesh)
  key = jax.random.key(0)
  now = state.create(model.init(key, mesh), {}, objective.players, chain)
  batch = sharding.place(batch, mesh)
  accumulation = machine.accumulation(size.batch_rows, ROW_LENGTH)
  train_step = step.build(model, objective, chain, machine, accumulation)

  def run(steps: int) -> None:
    nonlocal now
    for _ in range(steps):
      now, metrics = train_step(now, batch, key)
    jax.block_until_ready(metrics)

  tokens = size.batch_rows * ROW_LENGTH
  about = {
    "parameters": decoder.parameters(settings, space),
    "flops": decoder.flops_per_token(settings, space, ROW_LENGTH) * tokens,
  }
  return about, run


def torch_eager(size: Size, compiled: bool = False, autocast: bool = False):
  """Returns what the step of `transformers` is, and a function that takes n of them."""
  import torch
  from transformers import LlamaConfig, LlamaForCausalLM

  torch.manual_seed(0)
  heads = size.width // 64
  model = LlamaForCausalLM(
    LlamaConfig(
      vocab_size=VOCABULARY, hidden_size=size.width, intermediate_size=size.hidden,
      num_hidden_layers=size.layers, num_attention_heads=heads, num_key_value_heads=heads,
      max_position_embeddings=ROW_LENGTH, tie_word_embeddings=True, use_cache=False,
    )
  )  # fmt: skip
  optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, fused=True)
  forward = torch.compile(model) if compiled else model
  tokens_BL = torch.from_numpy(_tokens(size)).long()

  def run(steps: int) -> None:
    for _ in range(steps):
      with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        loss = forward(input_ids=tokens_BL, labels=tokens_BL).loss
      loss.backward()
      torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
      optimizer.step()
      optimizer.zero_grad(set_to_none=True)

  return {"parameters": sum(one.numel() for one in model.parameters())}, run


def matmul(size: Size):
  """Returns a float32 product of the largest shape: the peak that a step is held against."""
  import jax
  import jax.numpy as jnp

  rows = size.batch_rows * ROW_LENGTH
  left, right = jnp.ones((rows, size.width)), jnp.ones((size.width, size.hidden))
  product = jax.jit(jnp.dot)
  times = 20

  def run(steps: int) -> None:
    for _ in range(steps * times):
      found = product(left, right)
    found.block_until_ready()

  return {"flops": 2 * times * rows * size.width * size.hidden}, run


def _tokens(size: Size):
  import numpy as np

  shape = (size.batch_rows, ROW_LENGTH)
  return np.random.default_rng(0).integers(VOCABULARY - 128, size=shape, dtype=np.int32)


WORKERS = {
  "ours": ours,
  "torch_eager": torch_eager,
  "torch_compiled": lambda size: torch_eager(size, compiled=True),
  "torch_bfloat16": lambda size: torch_eager(size, autocast=True),
  "matmul": matmul,
}

if __name__ == "__main__":
  main()

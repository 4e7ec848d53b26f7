"""`audiopalm export`: writes a trained run as a folder for PyTorch."""

import argparse
from pathlib import Path

from audiopalm import quantities
from audiopalm.cli import options, outputs
from audiopalm.errors import EXIT_DONE

DESCRIPTION = """Write a trained run as a folder that PyTorch reads without audiopalm or JAX.

  audiopalm export --workdir runs/quickstart --out exported
  audiopalm import --from exported --workdir runs/again

A model equal to a class of transformers (Llama, Mistral, Qwen 2 and 3, Gemma 1 to 3) is exported
as that class; any other comes with torch_decoder.py, one file of plain PyTorch. The folder also
contains the files of AutoTokenizer, the speech tokenizer as arrays with the code that runs them
(audiopalm_speech/), and the prompt and the allowed answers of each task (generation_config.json).
docs/export.md shows how to use it."""


def add_options(parser: argparse.ArgumentParser) -> None:
  """Adds the options of `export`."""
  options.add_trained(parser)
  options.add_step(parser)
  summary = "the new folder; it must not exist"
  options.add(parser, "--out DIR2", summary, type=Path, required=True)


def run(args: argparse.Namespace) -> int:
  """Returns the exit code of `audiopalm export`."""
  from audiopalm import session  # imports jax
  from audiopalm.exports import folder

  folder.check_new(args.out)
  outputs.check_folder("--out", args.out, outputs.inputs(), workdir=args.workdir)
  opened = session.load(args.workdir, step=args.step, trust=args.trust)
  model = opened.export(args.out)
  size = sum(path.stat().st_size for path in args.out.rglob("*") if path.is_file())
  print(f"Exported checkpoint {opened.step} as {model}: {args.out} ({quantities.size(size)})")
  return EXIT_DONE

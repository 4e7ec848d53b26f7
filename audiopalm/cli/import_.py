"""`audiopalm import`: makes a workdir from an exported folder."""

import argparse
from pathlib import Path

from audiopalm.cli import options, outputs
from audiopalm.errors import EXIT_DONE

DESCRIPTION = """Make a workdir from a folder that `audiopalm export` wrote, with bit-identical
parameters and the same tokenizers and ids.

  audiopalm import --from exported --workdir runs/again
  audiopalm generate --workdir runs/again --task asr --audio hello.wav

Tensors that were trained further in PyTorch are imported as they are, if they keep their names,
shapes and float32. The run can generate at once. To evaluate it, prepare its corpora first, which
the folder does not contain:

  audiopalm prepare runs/again/config.json --workdir runs/again
  audiopalm evaluate --workdir runs/again

The optimizer's state is not exported, so the run cannot be trained any further."""


def add_options(parser: argparse.ArgumentParser) -> None:
  """Adds the options of `import`."""
  summary = "a folder that `audiopalm export` wrote"
  options.add(parser, "--from DIR", summary, dest="folder", type=Path, required=True)
  options.add_workdir(parser, "the new workdir; it must not exist", "import", "DIR2")
  options.add_trust(parser)


def run(args: argparse.Namespace) -> int:
  """Returns the exit code of `audiopalm import`."""
  from audiopalm.data import files, prepare  # the rest imports jax
  from audiopalm.exports import folder
  from audiopalm.training import checkpoint, writing

  folder.check_new(args.workdir)
  outputs.check_folder("--workdir", args.workdir, outputs.inputs())
  exported = folder.read(args.folder, args.trust)
  with files.replacing(args.workdir) as part:
    prepare.write_imported(
      part, exported.experiment, exported.tokenizers, exported.manifest, exported.longest
    )
    meta = checkpoint.Meta(
      step=exported.step,
      experiment=exported.experiment.to_json(),
      manifest=exported.manifest,
      position={"step": exported.step, "seen": {}},
      versions=checkpoint.versions(),
    )
    # It writes config.json too.
    with writing.Writer(part, keep=1) as writer:
      writer.save_model(exported.params, exported.variables, meta)
  print(f"Imported checkpoint {exported.step} of {exported.experiment.name!r}: {args.workdir}")
  return EXIT_DONE

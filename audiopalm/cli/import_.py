"""`audiopalm import`: an exported folder as a workdir again."""

import argparse
from pathlib import Path

from audiopalm.cli import options, outputs
from audiopalm.errors import EXIT_DONE

DESCRIPTION = """Make a workdir of a folder that `audiopalm export` wrote: the same parameters to
the bit, the same tokenizers and ids.

  audiopalm import --from exported --workdir runs/again
  audiopalm generate --workdir runs/again --task asr --audio hello.wav

Tensors that were trained further in PyTorch are imported as they are, if their names, shapes and
float32 are kept. The run answers at once. Its scores are taken on data, which the folder does not
hold; where the corpora are at hand, they are made again:

  audiopalm prepare runs/again/config.json --workdir runs/again
  audiopalm evaluate --workdir runs/again

The optimizer's state is not exported: such a run is not trained any further."""


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

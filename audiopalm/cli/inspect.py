"""`audiopalm inspect`: what is there, before it is used."""

import argparse

from rich import console

from audiopalm.cli import options
from audiopalm.data.executors import Local
from audiopalm.data.manifest import inspection
from audiopalm.data.manifest.lines import Reading
from audiopalm.errors import EXIT_DONE, EXIT_USER

DESCRIPTION = """Look at something before it is used.

  audiopalm inspect data train.jsonl"""

DATA = """Read a manifest (JSONL or TSV) or a LibriSpeech-style folder, and every recording in it.
Printed are hours, languages, speakers, lengths, ten examples, and the faults of
both kinds: of the manifest as a whole, which `prepare` refuses, and of single
recordings, which it would leave out. Exit code 2 if there is any.

  audiopalm inspect data train.jsonl
  audiopalm inspect data LibriSpeech/dev-clean --language en
  audiopalm inspect data covost_v2.fr_en.dev.tsv --language fr --translation-language en"""


def add_parser(commands: argparse._SubParsersAction) -> None:
  """Adds `inspect` and what it can look at to the command line."""
  parser = commands.add_parser(
    "inspect",
    help="look at something before it is used: a manifest of recordings",
    description=DESCRIPTION,
    formatter_class=argparse.RawDescriptionHelpFormatter,
    allow_abbrev=False,
  )
  kinds = parser.add_subparsers(metavar="WHAT", required=True, help="what to look at")
  data = options.command(kinds, "data", "a manifest, and all of its recordings", DATA, data_run)
  data.add_argument("manifest", metavar="MANIFEST", help="a JSONL or TSV file, or a folder")
  data.add_argument(
    "--language", metavar="CODE", help="the language of lines that do not name one (en, fr, ...)"
  )
  data.add_argument(
    "--translation-language", metavar="CODE", help="the same for their translations"
  )
  data.add_argument(
    "--audio-dir", metavar="DIR", help="what paths of audio are relative to (default: the manifest)"
  )
  options.add_workers(data, "read recordings")


def data_run(args: argparse.Namespace) -> int:
  """Returns the exit code of `audiopalm inspect data`."""
  reading = Reading(args.language, args.translation_language, args.audio_dir)
  with Local(options.workers(args)) as executor:
    found = inspection.inspect(args.manifest, reading, executor)
  inspection.show(found, console.Console())
  return EXIT_USER if found.problems else EXIT_DONE

"""`audiopalm tokenizer`: fits, imports, compares and lists speech tokenizers."""

import argparse
import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich import console, progress

from audiopalm import quantities, runs, values, version
from audiopalm.cli import config, options, outputs
from audiopalm.data import files, fitting
from audiopalm.data.executors import Local
from audiopalm.data.manifest import corpus as manifests
from audiopalm.data.manifest import published
from audiopalm.data.manifest.lines import Reading
from audiopalm.errors import EXIT_DONE, ConfigError
from audiopalm.evaluation import labeled
from audiopalm.evaluation import tokenizers as judged
from audiopalm.exports import folder as exports
from audiopalm.models.pytorch import encoders, fields
from audiopalm.parts import tokenizers
from audiopalm.tokenizers import kept
from audiopalm.tokenizers.base import Tokenizer
from audiopalm.types import CorpusSettings, StreamSpec

DESCRIPTION = """Fit speech tokenizers without a run, compare them, and list them.

  audiopalm tokenizer list
  audiopalm tokenizer fit train.jsonl --out units --units neural:models/hubert-base
  audiopalm tokenizer evaluate dev.jsonl --tokenizer units --tokenizer runs/quickstart"""

LIST = """List the tokenizers that a config can name; with --workdir those of a run, or of a folder
that `audiopalm tokenizer fit` wrote: their ids, rate, fingerprint, and license of the weights.

  audiopalm tokenizer list
  audiopalm tokenizer list --workdir runs/quickstart"""

FIT = """Fit units on the training speech of a manifest or of a config, as `audiopalm prepare` does,
and write them as a folder, from which configs can load them with the same ids:
c.tokenizers.fitted("DIR").

  audiopalm tokenizer fit train.jsonl --language en --out units --set size=500
  audiopalm tokenizer fit spoken_digit --data held_out_speaker=theo --out units --set rate_hz=50
  audiopalm tokenizer fit train.jsonl --out units --units neural:models/hubert-base --set layer=9"""

IMPORT = """Read a published speech encoder from a Hugging Face folder, check its tensors, and write
the part that units need in float32, without decoder and heads.

  audiopalm tokenizer import whisper-base --out models/whisper-base
  audiopalm tokenizer fit train.jsonl --units neural:models/whisper-base --out units"""

EVALUATE = """Compare speech tokenizers on the same recordings. Their speakers should be new to all
of the tokenizers.

  audiopalm tokenizer evaluate dev.jsonl --tokenizer units --tokenizer runs/quickstart
  audiopalm tokenizer evaluate spoken_digit --data held_out_speaker=theo --split held_out_voices \\
      --tokenizer units --json units.json

ABX is how often speech with another label is nearer than speech with the same one (50 % is chance,
lower is better). Distances are the share of ids that differ, and the angles between centroids and
between the vectors before quantization. Labels are the manifest's column phones or words, else the
text of recordings of one word; or the lines of an item file of libri-light. PNMI and purity measure
how well an id predicts the label of its frame; the probe, how often the frequencies of ids identify
the speaker. docs/tokenizers.md explains how each is measured."""

UNITS = ("mfcc", "mel_rvq", f"{tokenizers.NEURAL}FOLDER")
# (name, summary, function that makes one) of each kind; None for kinds that are loaded from files.
KINDS: tuple[tuple[str, str, Callable[[], Tokenizer] | None], ...] = (
  ("text", "SentencePiece with bytes, fitted on the texts of the corpora", tokenizers.text),
  ("pretrained", "the text tokenizer of a run or of a text model in a folder, with its ids", None),
  ("units", "clusters of MFCCs, fitted on their speech", tokenizers.units),
  ("neural", "clusters of an imported speech encoder's states, fitted on their speech",
   functools.partial(tokenizers.neural, "FOLDER")),
  ("mel_rvq", "residual clusters of log-mel frames, fitted on their speech", tokenizers.mel_rvq),
  ("bpe", "pieces of frequent sequences of units, fitted on both",
   lambda: tokenizers.bpe(tokenizers.units())),
  ("pitch", "clusters of log pitch, fitted on their speech", tokenizers.pitch),
  ("phonemes", "pronunciations of texts, by espeak-ng", tokenizers.phonemes),
  ("lyra", "SoundStream with imported weights of Lyra V2", tokenizers.lyra),
  ("fitted", "a tokenizer of `audiopalm tokenizer fit` or of a run, with its ids", None),
)  # fmt: skip


def add_options(parser: argparse.ArgumentParser) -> None:
  """Adds the subcommands of `tokenizer` with their options."""
  kinds = parser.add_subparsers(metavar="WHAT", required=True, help="what to do")
  listed = options.command(kinds, "list", LIST, _list, "list tokenizers")
  summary = "a run, or a folder that `audiopalm tokenizer fit` wrote"
  options.add(listed, "--workdir DIR", summary, type=options.folder)
  options.add_trust(listed)

  fit = options.command(kinds, "fit", FIT, _fit, "fit units, as a folder for configs")
  _add_source(fit)
  add = functools.partial(options.add, fit)
  add("--out DIR", "the new folder", type=options.folder, required=True)
  add("--units KIND", f"{', '.join(UNITS)} (default: mfcc)", default="mfcc")
  summary = "change a field of the tokenizer (docs/tokenizers.md); may be repeated"
  add("--set FIELD=VALUE", summary, action="append", default=[], dest="changes")
  options.add_workers(fit, "read and fit", none="which runs encoders on its accelerators")

  imported = options.command(kinds, "import", IMPORT, _import, "import a published speech encoder")
  summary = "a folder in the format of transformers"
  imported.add_argument("folder", metavar="FOLDER", type=options.folder, help=summary)
  options.add(imported, "--out DIR", "the new folder", type=options.folder, required=True)

  evaluate = options.command(kinds, "evaluate", EVALUATE, _evaluate, "compare tokenizers")
  _add_source(evaluate)
  add = functools.partial(options.add, evaluate)
  summary = "a run, or a folder that `audiopalm tokenizer fit` wrote. May be repeated"
  add("--tokenizer DIR", summary, action="append", required=True)
  add("--split NAME", "the split of the config (default: test)")
  summary = "largest number of recordings (default: 500)"
  add("--most N", summary, type=options.at_least(1), default=500)
  summary = "the labels of ABX and PNMI (default: the first of these that the recordings have)"
  add("--labels KIND", summary, choices=labeled.KINDS)
  add("--items FILE", "compare the lines of an item file of libri-light", type=Path)
  add("--any-context", "compare phones regardless of their neighbors", action="store_true")
  summary = f"{judged.WITHIN} or {judged.ACROSS} speakers (default: both if possible)"
  add("--abx SPEAKERS", summary, choices=(judged.WITHIN, judged.ACROSS))
  add("--seed N", "seed of random samples (default: 0)", type=options.at_least(0), default=0)
  add("--json FILE", "file for all scores", type=Path)


def _add_source(parser: argparse.ArgumentParser) -> None:
  summary = (
    "one or more manifests (JSONL or TSV) or LibriSpeech-style folders; or a config: a file, the "
    "workdir of a run, or a name that comes with audiopalm"
  )
  parser.add_argument("source", metavar="SOURCE", nargs="+", help=summary)
  add = functools.partial(options.add, parser)
  add("--corpus", "read the tables of this published corpus", choices=published.READINGS)
  add("--language CODE", "the language of lines that do not name one (en, fr, ...)")
  add("--translation-language CODE", "the same for their translations")
  add("--audio-dir DIR", "the folder of relative audio paths (default: the manifest's)")
  summary = "change a setting of the config, such as data_dir; may be repeated"
  add("--data PATH=VALUE", summary, action="append", default=[], dest="settings")
  options.add_trust(parser)


def _list(args: argparse.Namespace) -> int:
  if args.workdir is None:
    for name, summary, make in KINDS:
      print(f"{name:<11} {'' if make is None else _ids(make().largest):<26} {summary}")
    return EXIT_DONE
  for tokenizer in tokenizers.all_fitted(str(args.workdir), tuple(args.trust)):
    fitted = tokenizer.load(Path(tokenizer.folder).expanduser())
    print(
      f"{tokenizer.stream:<11} {_ids(fitted.spec):<26} {type(kept.plain(tokenizer)).__name__}, "
      f"fingerprint {fitted.spec.fingerprint[:12]}"
    )
    if (note := judged.license_note(fitted)) is not None:
      print(f"{'':<11} license of the weights: {note}")
  return EXIT_DONE


def _fit(args: argparse.Namespace) -> int:
  exports.check_new(args.out)
  outputs.check_folder("--out", args.out, outputs.inputs())
  if args.units not in UNITS and not args.units.startswith(tokenizers.NEURAL):
    raise ConfigError(f"Unknown --units {args.units!r}. Expected {', '.join(UNITS)}.")
  settings = (
    tokenizers.mel_rvq()
    if args.units == "mel_rvq"
    else tokenizers.named_units(args.units, tokenizers.units())
  )
  changes = dict(_change(text) for text in args.changes)
  settings = values.replaced(settings, changes)
  settings.check()
  corpora = _corpora(args)
  with Local(args.workers) as executor:
    with _bar() as say:
      say("reading recordings", 0.0)
      utterances = fitting.sample(corpora, executor, fitting.sample_s([settings]))
      say("fitting", 0.5)
      (fitted,) = executor.map(fitting.fit_one, [(settings, utterances)])
  spoken = [utterance for utterance in utterances if utterance.wave_S is not None]
  about = {
    "audiopalm": version.VERSION,
    "corpora": [{"name": corpus.name, "fingerprint": corpus.fingerprint} for corpus in corpora],
    "recordings": len(spoken),
    "seconds": round(sum(len(recording.wave_S) / recording.rate_hz for recording in spoken), 1),
    "speakers": len({recording.speaker for recording in spoken}),
  }
  with files.replacing(args.out) as part:
    kept.write(fitted, settings, part, about)
  print(
    f"{args.out}: {_ids(fitted.spec)}, fitted on {about['recordings']:,} recordings "
    f"({about['seconds'] / 60:.1f} min) of {about['speakers']} speakers, fingerprint "
    f"{fitted.spec.fingerprint[:12]}"
  )
  if (note := judged.license_note(fitted)) is not None:
    print(f"License of the weights: {note}")
  print(f'For a config: c.tokenizers.fitted("{args.out}")')
  return EXIT_DONE


def _import(args: argparse.Namespace) -> int:
  exports.check_new(args.out)
  outputs.check_folder("--out", args.out, outputs.inputs())
  encoder = encoders.open(args.folder)
  with files.replacing(args.out) as part:
    encoder.save(part)
    copied = encoders.open(part).fingerprint
    if copied != encoder.fingerprint:
      raise ConfigError(
        f"{args.folder} changed while it was read: expected the fingerprint "
        f"{encoder.fingerprint[:12]} of its copy, got {copied[:12]}. Run the same command again."
      )
    size = sum(path.stat().st_size for path in part.iterdir())
  kind = fields.read(args.folder / fields.CONFIG, encoders.EXPECTED)["model_type"]
  print(
    f"{kind}: {encoder.layers} layers of width {encoder.width}, {encoder.rate_hz:g} states a "
    f"second\nlicense: {encoder.license_note or 'not stated in the folder'}\n"
    f"fingerprint: {encoder.fingerprint[:12]}\n"
    f"{args.out}: {quantities.size(size)}. To fit units on it:\n"
    f"  audiopalm tokenizer fit MANIFEST --units {tokenizers.NEURAL}{args.out} --out DIR"
  )
  return EXIT_DONE


def _evaluate(args: argparse.Namespace) -> int:
  if args.json is not None:
    read = [*args.source, *([args.items] if args.items else [])]
    outputs.check_file("--json", args.json, outputs.inputs(*read), kind="JSON")
  opened = dict(_opened(args))
  corpora = _corpora(args)
  split = "train"  # the only one of a manifest
  if _config(args):
    split = args.split or "test"
  elif args.split:
    raise ConfigError(
      f"--split names a split of a config, but {args.source[0]} is read as a manifest, of which "
      "all lines are read. Leave out --split."
    )
  speakers = (args.abx,) if args.abx else (judged.WITHIN, judged.ACROSS)
  with _bar() as say:
    sample = labeled.read(
      corpora, split, most=args.most, seed=args.seed, labels=args.labels, items=args.items,
      any_context=args.any_context, advance=lambda share: say("reading recordings", share),
    )  # fmt: skip
    notes = judged.notes(sample, (args.abx,) if args.abx else ())
    results = {
      name: judged.scores(
        tokenizer, sample, speakers, args.seed,
        lambda text, share, name=name: say(f"{name}: {text}", share),
      )
      for name, tokenizer in opened.items()
    }  # fmt: skip
  about = {
    "audiopalm": version.VERSION,
    "recordings": len(sample.names),
    "seconds": round(sample.seconds, 1),
    "speakers": len(sample.speakers),
    "labels": "items" if args.items else sample.labels,
    "seed": args.seed,
    "notes": notes,
  }
  printer = console.Console()
  judged.show(results, printer)
  labels = f", labeled by {about['labels']}" if about["labels"] else ""
  lines = [
    f"\n{about['recordings']:,} recordings, {sample.seconds / 60:.1f} min, {about['speakers']} "
    f"speakers{labels}. ABX: 50 % is chance, lower is better; ±: half of the 95 % interval.",
    *judged.advice(results),
    *(f"Not measured: {note}" for note in notes),
  ]
  for line in lines:
    printer.print(line, markup=False, highlight=False, soft_wrap=True)
  if args.json is not None:
    files.write_json(args.json, {**about, "tokenizers": results})
  return EXIT_DONE


def _corpora(args: argparse.Namespace) -> tuple[CorpusSettings, ...]:
  """Returns the corpora of a config, or the one that manifests list."""
  path = _config(args)
  if path is not None:
    if len(args.source) > 1:
      raise ConfigError(f"Give one config, or manifests, not {' '.join(args.source)}.")
    of_manifests = ("corpus", "language", "translation_language", "audio_dir")
    if given := [f"--{name.replace('_', '-')}" for name in of_manifests if getattr(args, name)]:
      raise ConfigError(
        f"{', '.join(given)} is for manifests, but {args.source[0]} is read as a config. Leave it "
        "out; --data changes settings of the config."
      )
    return config.load(path, args.settings, args.trust).corpora
  if args.settings:
    raise ConfigError(
      f"--data changes settings of a config, but {args.source[0]} is read as a manifest. Leave out "
      "--data."
    )
  kind = published.READINGS.get(args.corpus, Reading)
  reading = kind(args.language, args.translation_language, args.audio_dir)
  none = dict.fromkeys(("validation", "test", "held_out_voices"))
  return (manifests.read({"train": tuple(args.source), **none}, reading),)


def _config(args: argparse.Namespace) -> str | None:
  """Returns the config that SOURCE names, None if it is a manifest."""
  source = args.source[0]
  path = Path(source)
  if (path / runs.CONFIG).is_file():
    return str(path / runs.CONFIG)
  is_file = path.suffix == ".py" or path.name == runs.CONFIG
  return source if is_file or (source in config.shipped() and not path.exists()) else None


def _opened(args: argparse.Namespace) -> Iterator[tuple[str, kept.KeptTokenizer]]:
  """Yields (name, tokenizer) of each speech tokenizer in the folders; ConfigError without any."""
  for folder in dict.fromkeys(args.tokenizer):
    fitted = tokenizers.all_fitted(folder, tuple(args.trust))
    speech = [tokenizer for tokenizer in fitted if not tokenizers.is_text(tokenizer)]
    if not speech:
      raise ConfigError(
        f"Expected speech tokenizers in {folder}, found only text. Name a run with units."
      )
    for tokenizer in speech:
      yield (folder if len(speech) == 1 else f"{folder} {tokenizer.stream}"), tokenizer


def _change(text: str) -> tuple[str, str]:
  name, equals, value = text.partition("=")
  if not equals or not name:
    raise ConfigError(f"--set takes FIELD=VALUE, as in size=500, not {text!r}.")
  return name.strip(), value.strip()


def _ids(spec: StreamSpec) -> str:
  """Returns the sizes of the codebooks and the rate, as in "8 x 256 ids, 25 a second"."""
  equal = spec.codebooks > 1 and len(set(spec.sizes)) == 1
  sizes = f"{spec.codebooks} x {spec.sizes[0]}" if equal else " + ".join(map(str, spec.sizes))
  rate = f", {spec.rate_hz:g} a second" if spec.rate_hz else ""
  return f"{sizes} ids{rate}"


@contextmanager
def _bar() -> Iterator[Callable[[str, float], None]]:
  """Shows a progress bar on stderr; yields a function that takes its text and finished share."""
  columns = progress.TextColumn("{task.description}"), progress.BarColumn()
  out = console.Console(stderr=True)
  with progress.Progress(*columns, console=out, transient=True) as bar:
    line = bar.add_task("", total=1.0)
    yield lambda text, share: bar.update(line, description=text, completed=share)

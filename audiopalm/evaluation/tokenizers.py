"""Scores of speech tokenizers on the same recordings, and a table of them."""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from audiopalm.audio import waveform
from audiopalm.errors import ConfigError, DataError
from audiopalm.evaluation import labeled
from audiopalm.evaluation.labeled import Sample
from audiopalm.metrics import abx, clusters, probe, tally
from audiopalm.models.pytorch import encoders
from audiopalm.tokenizers import base, kept, neural, unit_bpe
from audiopalm.tokenizers.base import Fitted, Framed
from audiopalm.tokenizers.kept import KeptTokenizer
from audiopalm.types import Utterance

BATCH = 64  # recordings that are encoded together
TIMED = 10  # recordings that are encoded again, to measure speed
FEWEST = probe.FOLDS  # recordings per speaker that the probe needs
RARELY = 0.5  # share of ids in use below which `advice` suggests fewer ids
WITHIN, ACROSS = "within", "across"
Say = Callable[[str, float], None]  # gets the name of the current work and the share completed


@dataclasses.dataclass(frozen=True, eq=False)
class Encoded:
  """Recordings as encoded by a tokenizer: ids_T of the first codebook, and, if it has them, the
  features_TE that were quantized and the codebook."""

  ids: tuple[np.ndarray, ...]
  features: tuple[np.ndarray, ...] | None
  codebook_VE: np.ndarray | None


def notes(sample: Sample, abx_speakers: Sequence[str]) -> list[str]:
  """Returns sentences on what cannot be measured on a sample, and why. Raises DataError if labels
  have fewer than two classes, or `abx_speakers` has "across" and too few speakers are named."""
  lines = []
  categories = sorted({token.label for token in sample.tokens})
  if sample.labels is None and not sample.tokens:
    expected = "; or ".join(labeled.EXPECTED.values())
    lines.append(f"ABX, PNMI and purity need labels: {expected}.")
  elif len(categories) < 2:
    raise DataError(
      f"ABX, PNMI and purity expect two or more labels, the {len(sample.names)} recordings have "
      f"{', '.join(categories) or 'none'}. Name more recordings."
    )
  speakers = {token.speaker for token in sample.tokens} - labeled.UNNAMED
  if sample.tokens and len(speakers) < 2:
    text = (
      f"across speakers expects two or more that are named, the recordings have "
      f"{len(speakers)}. Name them in the column speaker of the manifest"
    )
    if ACROSS in abx_speakers:
      raise DataError(f"ABX {text}, or ask for --abx {WITHIN}.")
    lines.append(f"ABX {text}.")
  if len(_probed(sample)) < 2:
    lines.append(
      f"The speaker probe expects two or more speakers with {FEWEST} recordings each, there are "
      f"{len(_probed(sample))}."
    )
  if sample.faults:
    count = len(sample.faults)
    lines.append(f"{count} recordings were left out. The first: {sample.faults[0]}")
  return lines


def scores(
  tokenizer: KeptTokenizer, sample: Sample, abx_speakers: Sequence[str], seed: int, say: Say
) -> dict[str, Any]:
  """Returns the scores of a tokenizer as JSON values; raises the errors of its `encode`."""
  fitted = tokenizer.load(Path(tokenizer.folder).expanduser())
  settings = kept.plain(tokenizer)
  rate_hz = getattr(settings, "rate_hz", None) or fitted.spec.rate_hz
  if rate_hz is None or (fitted.spec.rate_hz is None and not isinstance(fitted, Framed)):
    raise ConfigError(
      f"The tokenizer in {tokenizer.folder} gives ids without times, expected a fixed rate. Fit it "
      "without collapse=true, and compare units before bpe merges them."
    )
  encoded = encode(fitted, sample.utterances, lambda share: say("encoding", share))
  size = fitted.spec.sizes[0]
  counts_V = np.bincount(np.concatenate(encoded.ids), minlength=size)
  return {
    "fingerprint": fitted.spec.fingerprint,
    "class": type(settings).__name__,
    "size": size,
    "codebooks": fitted.spec.codebooks,
    "rate_hz": rate_hz,
    "license": license_note(fitted),
    "bits_per_s": dataclasses.asdict(clusters.bit_rates(encoded.ids, size, rate_hz)),
    "bits_per_s_of_all_codebooks": rate_hz * float(np.log2(fitted.spec.sizes).sum()),
    "used": float((counts_V > 0).mean()),
    "perplexity": float(2 ** clusters.entropy_bits(counts_V)),
    "abx": _abx(encoded, sample, abx_speakers, rate_hz, seed, say),
    **_agreement(encoded, sample, rate_hz),
    **_leakage(encoded, sample, size, seed),
    **_speed(fitted, sample),
  }


def encode(
  fitted: Fitted, utterances: Sequence[Utterance], advance: Callable[[float], None]
) -> Encoded:
  """Returns the encoded utterances, with runs of equal ids not collapsed; those of a batch are
  encoded together if the tokenizer can."""
  ids, features = [], []
  for start in range(0, len(utterances), BATCH):
    batch = utterances[start : start + BATCH]
    if isinstance(fitted, Framed):
      for codes, feature_TE in map(base.result, base.frames_batch(fitted, batch)):
        ids.append(codes)
        features.append(feature_TE)
    else:
      ids += map(base.result, base.encode_batch(fitted, batch))
    advance(len(ids) / len(utterances))
  return Encoded(
    tuple(codes if codes.ndim == 1 else codes[:, 0] for codes in ids),
    tuple(features) or None,
    getattr(fitted, "codebook_VE", None) if features else None,
  )


def license_note(fitted: Fitted) -> str | None:
  """Returns the license of the weights of a neural tokenizer; None for other tokenizers."""
  if isinstance(fitted, unit_bpe.FittedUnitBPE):
    return license_note(fitted.units)
  if not isinstance(fitted, neural.FittedNeuralUnits):
    return None
  return fitted.encoder.license_note or "not in the folder of the encoder"


def _abx(
  encoded: Encoded, sample: Sample, abx_speakers: Sequence[str], rate_hz: float, seed: int, say: Say
) -> dict[str, Any]:
  """Returns {"within": {"ids": score, "centroids": score, "features": score}, "across": {...}}.

  Across speakers only those that are named are compared.
  """
  tokens, places = [], []
  for span in sample.tokens:
    at = labeled.frames(span, rate_hz, len(encoded.ids[span.recording]))
    if at.start < at.stop:
      name = sample.names[span.recording]
      tokens.append(abx.Token(span.label, span.speaker, name, span.context))
      places.append((span.recording, at))
  sides: dict[str, tuple[Sequence[np.ndarray], abx.Cost]] = {"ids": (encoded.ids, abx.different)}
  if encoded.features is not None:
    centroids = [encoded.codebook_VE[ids_T] for ids_T in encoded.ids]
    sides |= {"centroids": (centroids, abx.angular), "features": (encoded.features, abx.angular)}
  result: dict[str, Any] = {}
  for speakers in abx_speakers if tokens else ():
    compared = [
      number
      for number, token in enumerate(tokens)
      if speakers == WITHIN or token.speaker not in labeled.UNNAMED
    ]
    for side, (frames, cost) in sides.items():
      score = abx.discriminate(
        [tokens[number] for number in compared],
        [frames[recording][at] for recording, at in (places[number] for number in compared)],
        cost,
        across=speakers == ACROSS,
        seed=seed,
        advance=lambda share, text=f"ABX {speakers} speakers, {side}": say(text, share),
      )
      if score is not None:
        result.setdefault(speakers, {})[side] = dataclasses.asdict(score)
  return result


def _agreement(encoded: Encoded, sample: Sample, rate_hz: float) -> dict[str, float]:
  """Returns PNMI and purities of labeled frames; {} if they have fewer than two labels."""
  names = sorted({span.label for span in sample.spans})
  numbers = {name: number for number, name in enumerate(names)}
  labels, ids = [np.zeros(0, int)], [np.zeros(0, int)]
  for span in sample.spans:
    of_span = encoded.ids[span.recording]
    of_span = of_span[labeled.frames(span, rate_hz, len(of_span))]
    ids.append(of_span)
    labels.append(np.full(len(of_span), numbers[span.label]))
  labels_T = np.concatenate(labels)
  if len(np.unique(labels_T)) < 2:  # spans shorter than a unit may have no frame
    return {}
  return dataclasses.asdict(clusters.agreement(labels_T, np.concatenate(ids)))


def _probed(sample: Sample) -> list[str]:
  """Returns the speakers with enough recordings for the probe."""
  said_by = [utterance.speaker for utterance in sample.utterances]
  return [name for name in sample.speakers if said_by.count(name) >= FEWEST]


def _leakage(encoded: Encoded, sample: Sample, size: int, seed: int) -> dict[str, Any]:
  """Returns the accuracy of a linear speaker probe on the frequencies of ids in a recording."""
  speakers = _probed(sample)
  if len(speakers) < 2:
    return {}
  indices_N = [number for number, u in enumerate(sample.utterances) if u.speaker in speakers]
  labels_N = np.array([speakers.index(sample.utterances[number].speaker) for number in indices_N])
  counts_NV = np.stack([np.bincount(encoded.ids[n], minlength=size) for n in indices_N])
  features_NV = np.sqrt(counts_NV / counts_NV.sum(axis=1, keepdims=True))
  predicted_N = probe.predictions(features_NV, labels_N, np.random.default_rng(seed))
  right_NE = np.stack([predicted_N == labels_N, np.ones(len(labels_N))], axis=1).astype(float)
  right = tally.Tally(right_NE, tally.ratio)
  chance = float(np.bincount(labels_N).max() / len(labels_N))
  return {
    "speaker_probe": {
      "accuracy": right.score(), "interval": right.interval(), "chance": chance,
      "speakers": len(speakers),
    }
  }  # fmt: skip


def _speed(fitted: Fitted, sample: Sample) -> dict[str, float]:
  """Returns seconds of audio encoded per second on this machine, here and in PyTorch."""
  timed = sample.utterances[:TIMED]
  seconds = sum(len(utterance.wave_S) / utterance.rate_hz for utterance in timed)
  result = {"real_time_factor": seconds / _seconds(fitted.encode, timed)}
  encoder = fitted.encoder if isinstance(fitted, neural.FittedNeuralUnits) else None
  is_published = (
    isinstance(encoder, encoders.PretrainedEncoder) and fitted.settings.window_s is None
  )
  if is_published and encoders.has_torch():
    states = encoders.published_states(encoder.folder, encoder.layer)

    def encode_in_torch(utterance: Utterance) -> None:
      states(waveform.resample(utterance.wave_S, utterance.rate_hz, waveform.RATE_HZ))

    encode_in_torch(timed[0])
    result["pytorch_real_time_factor"] = seconds / _seconds(encode_in_torch, timed)
  return result


def _seconds(work: Callable[[Utterance], object], utterances: Sequence[Utterance]) -> float:
  started_s = time.perf_counter()
  for utterance in utterances:
    work(utterance)
  return time.perf_counter() - started_s


def show(results: Mapping[str, Mapping[str, Any]], out: Console) -> None:
  """Prints a table with a column for each tokenizer."""
  table = Table(box=None, pad_edge=False, header_style="bold")
  table.add_column("", no_wrap=True)
  for name in results:
    table.add_column(name, justify="right", overflow="fold")
  for title, cell in ROWS:
    cells = [cell(scores) for scores in results.values()]
    if any(cells):
      table.add_row(title, *cells)
  out.print(table)


def advice(results: Mapping[str, Mapping[str, Any]]) -> list[str]:
  """Returns conclusions from the scores, one sentence each."""
  lines = []
  for speakers in (ACROSS, WITHIN):
    errors = {
      name: scores["abx"][speakers]["ids"]
      for name, scores in results.items()
      if "ids" in scores["abx"].get(speakers, {})
    }
    if len(errors) > 1:
      best, *others = sorted(errors, key=lambda name: errors[name]["error"])
      close = [name for name in others if _overlap(errors[best], errors[name])]
      apart = f", within the intervals of {', '.join(close)}" if close else ""
      lines.append(f"Ids of {best} separate labels best {speakers} speakers{apart}.")
      break
  for name, scores in results.items():
    centroids, features = (
      scores["abx"].get(ACROSS, scores["abx"].get(WITHIN, {})).get(side)
      for side in ("centroids", "features")
    )
    if centroids and not _overlap(centroids, features) and centroids["error"] > features["error"]:
      lines.append(f"{name}: its centroids separate labels worse than its features; try more ids.")
    probed = scores.get("speaker_probe")
    if probed and probed["interval"] and probed["interval"][0] > probed["chance"]:
      lines.append(
        f"{name}: its ids reveal the speaker, with an accuracy of {probed['accuracy']:.0%}; always "
        f"naming the most frequent of {probed['speakers']} gives {probed['chance']:.0%}."
      )
    if scores["used"] < RARELY:
      lines.append(
        f"{name}: {1 - scores['used']:.0%} of its ids do not occur here; try fewer, or fit it on "
        "speech like this."
      )
  return lines


def _overlap(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
  """Returns whether the intervals of two scores overlap, or one has no interval."""
  if first["interval"] is None or second["interval"] is None:
    return True
  (low, high), (other_low, other_high) = first["interval"], second["interval"]
  return high >= other_low and other_high >= low


def _number(value: float, factor: float = 1, digits: int = 1) -> str:
  return f"{value * factor:,.{digits}f}"


def _with_interval(score: Mapping[str, Any] | None, name: str) -> str:
  if score is None:
    return ""
  half = ""
  if score["interval"]:
    low, high = score["interval"]
    half = f" ±{(high - low) / 2 * 100:.1f}"
  return f"{score[name] * 100:.1f}{half}"


def _abx_cell(speakers: str, side: str) -> Callable[[Mapping[str, Any]], str]:
  return lambda scores: _with_interval(scores["abx"].get(speakers, {}).get(side), "error")


def _percent(name: str) -> Callable[[Mapping[str, Any]], str]:
  return lambda scores: _number(scores[name], 100) if name in scores else ""


def _ids(scores: Mapping[str, Any]) -> str:
  levels = f", level 1 of {scores['codebooks']}" if scores["codebooks"] > 1 else ""
  return f"{scores['size']:,}{levels}"


def _leak(scores: Mapping[str, Any]) -> str:
  probed = scores.get("speaker_probe")
  if probed is None:
    return ""
  return f"{_with_interval(probed, 'accuracy')} (chance {probed['chance'] * 100:.1f})"


def _times(name: str) -> Callable[[Mapping[str, Any]], str]:
  return lambda scores: f"{_number(scores[name])}x" if name in scores else ""


ROWS: tuple[tuple[str, Callable[[Mapping[str, Any]], str]], ...] = (
  ("ids", _ids),
  ("ids a second", lambda scores: f"{scores['rate_hz']:g}"),
  ("bits/s, nominal", lambda scores: _number(scores["bits_per_s"]["nominal"], digits=0)),
  ("bits/s, entropy", lambda scores: _number(scores["bits_per_s"]["ids"], digits=0)),
  ("bits/s, runs and durations", lambda s: _number(s["bits_per_s"]["timed_runs"], digits=0)),
  ("bits/s, runs alone", lambda scores: _number(scores["bits_per_s"]["runs"], digits=0)),
  ("ids in use %", _percent("used")),
  ("perplexity of ids", lambda scores: _number(scores["perplexity"])),
  *(
    (f"ABX {speakers}, {side} %", _abx_cell(speakers, side))
    for speakers in (WITHIN, ACROSS)
    for side in ("ids", "centroids", "features")
  ),
  ("PNMI %", _percent("pnmi")),
  ("label purity %", _percent("purity")),
  ("cluster purity %", _percent("cluster_purity")),
  ("speaker named by probe %", _leak),
  ("times real time", _times("real_time_factor")),
  ("times real time, PyTorch", _times("pytorch_real_time_factor")),
)

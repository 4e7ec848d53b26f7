"""Measures how well PocketSphinx recognizes spoken digits after speech codecs.

  python benchmarks/codec_digits.py --data-dir $TFDS_DATA_DIR --lyra DIR

Uses recordings 0 to 19 of every digit and speaker of spoken_digit (1,000), at 16 kHz; mel_rvq is
fitted on the others. PocketSphinx uses its English model and a grammar of ten words. It was not
trained on digital silence, so all recordings get the same level and the same faint noise; both are
the best of about twenty settings on recordings 0 to 4 without a codec. Needs pocketsphinx and
audiopalm[lyra]; --lyra is the folder of Lyra V2's files. Speeds are seconds of speech per second of
one core for encoding, decoding, and for `prepare` from the recordings to a shard's file. Results
are in benchmarks/results/codec_digits.json.
"""

import functools
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pocketsphinx
import score

from audiopalm.audio import waveform
from audiopalm.data import corpora, executors, streams
from audiopalm.data_pipelines import spoken_digit
from audiopalm.parts import tokenizers
from audiopalm.tokenizers.base import Fitted, Tokenizer
from audiopalm.types import Utterance

TESTED = 20  # recordings per digit and speaker
SILENCE_S = 0.3  # added on both sides: the recordings have none
LEVEL, NOISE = 0.05, 0.001  # root mean squares
GRAMMAR = f"#JSGF V1.0; grammar digits; public <digit> = {' | '.join(spoken_digit.DIGITS)};"
SEED = 0


def main() -> None:
  parser = score.command_parser(__doc__)
  parser.add_argument("--data-dir", metavar="DIR", help="data directory of TFDS")
  parser.add_argument("--lyra", metavar="DIR", help="the folder of Lyra V2's files")
  arguments = parser.parse_args()

  corpus = corpora.SpokenDigit(
    data_dir=arguments.data_dir, held_out_speaker=None, test_recordings=TESTED, variants=1
  )
  codecs = {"original": None, "mel_rvq": tokenizers.mel_rvq(codebooks=8, size=256, rate_hz=50)}
  if arguments.lyra:
    codecs["lyra"] = tokenizers.lyra(arguments.lyra, levels=16, levels_per_code=2)
  systems = {}
  with executors.Local(1) as worker:  # one thread, like the workers of `prepare`
    measured = worker.map(functools.partial(measure, corpus), list(codecs.values()))
    for name, figures in zip(codecs, measured, strict=True):
      systems[name] = figures
      print(name, json.dumps(figures, indent=1), flush=True)
  result = {
    "command": "python benchmarks/codec_digits.py --data-dir $TFDS_DATA_DIR --lyra DIR",
    **score.conditions(("numpy", "scipy", "ai-edge-litert", "pocketsphinx")),
    "recordings": spoken_digit.count(corpus, "test"),
    "systems": systems,
  }
  score.write("codec_digits", result)


def measure(corpus: corpora.SpokenDigit, codec: Tokenizer | None) -> dict[str, Any]:
  """Returns bit rate, digit accuracy and speeds of a codec; for None those of the recordings."""
  utterances, recognizer = list(recordings(corpus, "test")), DigitRecognizer()
  spoken_s = sum(len(utterance.wave_S) / utterance.rate_hz for utterance in utterances)
  if codec is None:
    digits = accuracy(recognizer, utterances, [utterance.wave_S for utterance in utterances])
    return {"digits": digits, "seconds": round(spoken_s, 1)}
  fitted, fit_s = timed(lambda: codec.fit(recordings(corpus, "train"), SEED))
  codes, encode_s = timed(lambda: [fitted.encode(utterance) for utterance in utterances])
  waves, decode_s = timed(lambda: [fitted.decode(codes_TQ) for codes_TQ in codes])
  bits = float(np.log2(fitted.spec.sizes).sum() * fitted.spec.rate_hz)
  return {
    "kbps": bits / 1000,
    "codes": f"{fitted.spec.codebooks} of {fitted.spec.sizes[0]}, {fitted.spec.rate_hz:g} per s",
    "digits": accuracy(recognizer, utterances, waves),
    "fit_cpu_s": round(fit_s, 1),
    "encode_real_time": round(spoken_s / encode_s),
    "decode_real_time": round(spoken_s / decode_s),
    "prepare_real_time": round(prepare_speed(codec, fitted, corpus)),
  }


def prepare_speed(codec: Tokenizer, fitted: Fitted, corpus: corpora.SpokenDigit) -> float:
  """Returns the seconds of speech per core second of `prepare`, which tokenizes the records of the
  test split, with their FLAC, into a shard."""
  count = spoken_digit.count(corpus, "test")
  with tempfile.TemporaryDirectory() as folder:
    fitted.save(Path(folder) / codec.stream)
    loadable = streams.TokenizerFile(codec, Path(folder) / codec.stream, fitted.spec)
    shard = streams.Shard(corpus, "test", 0, 1, 0, count, Path(folder), (loadable,), clips=False)
    tokenized, spent_s = timed(lambda: streams.tokenize_shard(shard))
  return tokenized.audio_s / spent_s


def recordings(corpus: corpora.SpokenDigit, split: str) -> Iterator[Utterance]:
  for record in spoken_digit.records(corpus, split, 0, spoken_digit.count(corpus, split)):
    yield record.utterances["source"]


class DigitRecognizer:
  """PocketSphinx with a grammar of the ten digits."""

  def __init__(self):
    self._decoder = pocketsphinx.Decoder(
      hmm=pocketsphinx.get_model_path("en-us/en-us"),
      dict=pocketsphinx.get_model_path("en-us/cmudict-en-us.dict"),
      lm=None,
      loglevel="FATAL",
    )
    self._decoder.add_jsgf_string("digits", GRAMMAR)
    self._decoder.activate_search("digits")

  def recognize(self, wave_S: np.ndarray) -> str:
    """Returns the digit in a wave at 16 kHz, '' if none is recognized."""
    level = np.sqrt(np.mean(np.square(wave_S))) + 1e-9
    noisy_S = np.pad(wave_S * (LEVEL / level), round(SILENCE_S * waveform.RATE_HZ))
    noisy_S += NOISE * np.random.default_rng(SEED).standard_normal(len(noisy_S))
    self._decoder.start_utt()
    samples_S = (np.clip(noisy_S, -1, 1) * (2**15 - 1)).astype(np.int16)
    self._decoder.process_raw(samples_S.tobytes(), full_utt=True)
    self._decoder.end_utt()
    hypothesis = self._decoder.hyp()
    return hypothesis.hypstr if hypothesis else ""


def accuracy(
  recognizer: DigitRecognizer, utterances: Sequence[Utterance], waves: Sequence[np.ndarray]
) -> dict[str, float]:
  """Returns the accuracy of the recognized digits in percent: of all, and by speaker."""
  hits = [
    recognizer.recognize(wave_S) == utterance.text
    for utterance, wave_S in zip(utterances, waves, strict=True)
  ]
  by_speaker: dict[str, list[bool]] = {}
  for utterance, hit in sorted(
    zip(utterances, hits, strict=True), key=lambda pair: pair[0].speaker
  ):
    by_speaker.setdefault(utterance.speaker, []).append(hit)
  return {"all": percent(hits)} | {name: percent(hits) for name, hits in by_speaker.items()}


def percent(hits: Sequence[bool]) -> float:
  return round(100 * sum(hits) / len(hits), 1)


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
  """Returns (call(), its seconds of processor time, which exclude other programs)."""
  start_s = time.process_time()
  return call(), time.process_time() - start_s


if __name__ == "__main__":
  main()

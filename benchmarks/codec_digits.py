"""Human digits through speech codecs and back, recognized by PocketSphinx beside the originals.

  python benchmarks/codec_digits.py --data-dir $TFDS_DATA_DIR --lyra DIR

Recordings 0 to 19 of every digit and speaker of spoken_digit (1,000), at 16 kHz; mel_rvq is fitted
on the others. PocketSphinx listens with its English model and a grammar of ten words, to all at the
same level in the same faint noise: it was not trained on digital silence. Level and noise are the
best of some twenty tried on recordings 0 to 4 as they are, without a codec. Needs pocketsphinx and
audiopalm[lyra]; --lyra is the folder of Lyra V2's files. Speeds are seconds of speech in a second
of one core: encoding, decoding, and what `prepare` does to a shard with that codec, from the
recordings to the file. Results are in benchmarks/results/codec_digits.json.
"""

import argparse
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
from audiopalm.data.records import Source
from audiopalm.data_pipelines import spoken_digit
from audiopalm.parts import tokenizers
from audiopalm.types import Utterance

TESTED = 20  # recordings of a digit by a speaker
SILENCE_S = 0.3  # around each: the recordings are cut close
LEVEL, NOISE = 0.05, 0.001  # root mean squares
GRAMMAR = f"#JSGF V1.0; grammar digits; public <digit> = {' | '.join(spoken_digit.DIGITS)};"
SEED = 0


def main() -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--data-dir", metavar="DIR", help="where TFDS keeps its data")
  parser.add_argument("--lyra", metavar="DIR", help="the folder of Lyra V2's files")
  arguments = parser.parse_args()

  corpus = corpora.SpokenDigit(
    data_dir=arguments.data_dir, held_out_speaker=None, test_recordings=TESTED, variants=1
  )
  codecs = {"original": None, "mel_rvq": tokenizers.mel_rvq(codebooks=8, size=256, rate_hz=50)}
  if arguments.lyra:
    codecs["lyra"] = tokenizers.lyra(arguments.lyra, levels=16, levels_per_code=2)
  systems = {}
  with executors.Local(1) as worker:  # on one thread, as `prepare` has its workers
    measured = worker.map(functools.partial(measure, corpus), list(codecs.values()))
    for name, found in zip(codecs, measured, strict=True):
      systems[name] = found
      print(name, json.dumps(found, indent=1), flush=True)
  result = {
    "command": "python benchmarks/codec_digits.py --data-dir $TFDS_DATA_DIR --lyra DIR",
    **score.conditions(("numpy", "scipy", "ai-edge-litert", "pocketsphinx")),
    "recordings": spoken_digit.count(corpus, "test"),
    "systems": systems,
  }
  score.write("codec_digits", result)


def measure(corpus: Any, codec: Any | None) -> dict:
  """Returns bit rate, digit accuracy and speeds of a codec; of the recordings alone for None."""
  heard, listener = list(recordings(corpus, "test")), DigitListener()
  spoken_s = sum(len(one.wave_S) / one.rate_hz for one in heard)
  if codec is None:
    digits = accuracy(listener, heard, [one.wave_S for one in heard])
    return {"digits": digits, "seconds": round(spoken_s, 1)}
  fitted, fit_s = timed(lambda: codec.fit(recordings(corpus, "train"), SEED))
  codes, encode_s = timed(lambda: [fitted.encode(one) for one in heard])
  waves, decode_s = timed(lambda: [fitted.decode(codes_TQ) for codes_TQ in codes])
  bits = float(np.log2(fitted.spec.sizes).sum() * fitted.spec.rate_hz)
  return {
    "kbps": bits / 1000,
    "codes": f"{fitted.spec.codebooks} of {fitted.spec.sizes[0]}, {fitted.spec.rate_hz:g} a second",
    "digits": accuracy(listener, heard, waves),
    "fit_cpu_s": round(fit_s, 1),
    "encode_real_time": round(spoken_s / encode_s),
    "decode_real_time": round(spoken_s / decode_s),
    "prepare_real_time": round(prepare_speed(codec, fitted, corpus)),
  }


def prepare_speed(codec: Any, fitted: Any, corpus: Any) -> float:
  """Returns the seconds of speech that a second of one core takes through `prepare`: the records
  of the test split, as they are with their FLAC, tokenized into a shard."""
  count = spoken_digit.count(corpus, "test")
  with tempfile.TemporaryDirectory() as folder:
    fitted.save(Path(folder) / codec.stream)
    loadable = streams.TokenizerFile(codec, Path(folder) / codec.stream, fitted.spec)
    shard = streams.Shard(
      corpus, Source("audiopalm.data_pipelines.spoken_digit"), "test", 0, 1, 0, count, Path(folder),
      (loadable,),
    )  # fmt: skip
    made, spent_s = timed(lambda: streams.tokenize_shard(shard))
  return made.audio_s / spent_s


def recordings(corpus: Any, split: str) -> Iterator[Utterance]:
  for record in spoken_digit.records(corpus, split, 0, spoken_digit.count(corpus, split)):
    yield record.utterances["source"]


class DigitListener:
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

  def hear(self, wave_S: np.ndarray) -> str:
    """Returns the digit heard in a wave at 16 kHz, '' for none."""
    level = np.sqrt(np.mean(np.square(wave_S))) + 1e-9
    heard_S = np.pad(wave_S * (LEVEL / level), round(SILENCE_S * waveform.RATE_HZ))
    heard_S += NOISE * np.random.default_rng(SEED).standard_normal(len(heard_S))
    self._decoder.start_utt()
    samples_S = (np.clip(heard_S, -1, 1) * (2**15 - 1)).astype(np.int16)
    self._decoder.process_raw(samples_S.tobytes(), full_utt=True)
    self._decoder.end_utt()
    found = self._decoder.hyp()
    return found.hypstr if found else ""


def accuracy(
  listener: DigitListener, said: Sequence[Utterance], waves: Sequence[np.ndarray]
) -> dict[str, float]:
  """Returns the share of digits heard right, in percent: of all, and by speaker."""
  right = [listener.hear(wave_S) == one.text for one, wave_S in zip(said, waves, strict=True)]
  speakers = {one.speaker for one in said}
  by_speaker = {
    name: [hit for one, hit in zip(said, right, strict=True) if one.speaker == name]
    for name in sorted(speakers)
  }
  return {"all": percent(right)} | {name: percent(hits) for name, hits in by_speaker.items()}


def percent(hits: Sequence[bool]) -> float:
  return round(100 * sum(hits) / len(hits), 1)


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
  """Returns (call(), seconds of processor time it took): other programs do not count."""
  start_s = time.process_time()
  return call(), time.process_time() - start_s


if __name__ == "__main__":
  main()

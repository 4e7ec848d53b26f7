"""Compares the speed of published speech encoders here and in `transformers` with PyTorch.

  python benchmarks/encoder_speed.py
  python benchmarks/encoder_speed.py --models hubert --seconds 1,20 --layer 6

Both encode the same noise in float32 with random weights at the published sizes of base models, one
clip at a time, up to the same layer: ours stops there, and the PyTorch model gets its later layers
removed. Each contender is a process that encodes when asked, in turn, so none computes while
another is timed. `--parity` compares all states instead, of the noise or of the recordings of
`--audio`, with those of PyTorch in float32 and in float64, and prints the largest differences.
Results are in benchmarks/results/encoder_speed-MACHINE.json.
"""

import argparse
import functools
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import contenders
import figures
import numpy as np
import score

PACKAGES = ("jax", "flax", "numpy", "torch", "transformers")
LARGE = {
  "hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16,
  "intermediate_size": 4096, "do_stable_layer_norm": True, "feat_extract_norm": "layer",
}  # fmt: skip
# Classes of transformers, and the settings of their published models that are not defaults.
MODELS = {
  "wav2vec2": ("Wav2Vec2Config", "Wav2Vec2Model", {}),
  "hubert": ("HubertConfig", "HubertModel", {}),
  "hubert_large": ("HubertConfig", "HubertModel", {**LARGE, "conv_bias": True}),
  "wavlm": ("WavLMConfig", "WavLMModel", {}),
  "wavlm_large": ("WavLMConfig", "WavLMModel", LARGE),
  "w2v_bert": ("Wav2Vec2BertConfig", "Wav2Vec2BertModel", {}),
  "whisper": (
    "WhisperConfig",
    "WhisperModel",
    {
      "d_model": 512, "encoder_layers": 6, "encoder_attention_heads": 8, "encoder_ffn_dim": 2048,
      "decoder_layers": 1, "decoder_attention_heads": 8,
    },
  ),
}  # fmt: skip
PROCESSORS = {
  "w2v_bert": {"num_mel_bins": 80, "stride": 2, "sampling_rate": 16_000},
  "whisper": {"feature_size": 80, "hop_length": 160, "n_fft": 400, "sampling_rate": 16_000},
}
LONGEST_S = 25.0  # one window of ours
RATE_HZ = 16_000
NAMES = {"ours": "ours", "torch": "transformers"}

Encode = Callable[[int], Any]  # the number of encodings -> None


def main() -> None:
  parser = score.command_parser(__doc__)
  parser.add_argument("--models", default="hubert,wavlm,whisper", help=f"of {', '.join(MODELS)}")
  parser.add_argument("--seconds", default="1,5,20", help="lengths of the clip")
  parser.add_argument("--layer", type=int, help="the last layer that is computed (default: all)")
  parser.add_argument("--repeats", type=int, default=7)
  parser.add_argument("--folder", type=Path, help="take this folder as the one model")
  parser.add_argument("--parity", action="store_true", help="compare states instead of speeds")
  parser.add_argument("--audio", nargs="+", type=Path, help="recordings for --parity")
  parser.add_argument("--worker", nargs=4, help=argparse.SUPPRESS)
  arguments = parser.parse_args()
  if arguments.worker:
    name, folder, seconds, layer = arguments.worker
    return contenders.serve(
      functools.partial(answer, CONTENDERS[name](Path(folder), float(seconds), int(layer)))
    )

  results: dict[str, Any] = {}
  with tempfile.TemporaryDirectory() as scratch:
    for name in arguments.models.split(","):
      folder = arguments.folder or saved(name, Path(scratch) / name)
      for path in (arguments.audio or ()) if arguments.parity else ():
        print(f"{path.name}: {parity(folder, recording(path))}", flush=True)
      if arguments.parity and arguments.audio:
        continue
      for seconds in map(float, arguments.seconds.split(",")):
        if arguments.parity:
          print(f"{name}, {seconds:g} s: {parity(folder, noise(seconds))}", flush=True)
        else:
          layer = arguments.layer or layers(folder)
          results[f"{name}, {seconds:g} s"] = compare(
            name, folder, seconds, layer, arguments.repeats
          )
  if not arguments.parity:
    head = {"command": score.command(__file__), **score.conditions(PACKAGES)}
    score.write(
      f"encoder_speed-{score.machine_name()}", {**head, "flags": score.flags(), "models": results}
    )


def saved(name: str, folder: Path) -> Path:
  """Returns a folder of a model with random weights, as transformers saves it."""
  import torch
  import transformers

  config, model, changes = MODELS[name]
  torch.manual_seed(0)
  encoder = getattr(transformers, model)(getattr(transformers, config)(**changes))
  encoder.save_pretrained(folder)
  processor = PROCESSORS.get(name, {"do_normalize": True, "sampling_rate": RATE_HZ})
  (folder / "preprocessor_config.json").write_text(json.dumps(processor), encoding="utf-8")
  return folder


def layers(folder: Path) -> int:
  config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
  return config.get("encoder_layers") or config["num_hidden_layers"]


def compare(name: str, folder: Path, seconds: float, layer: int, repeats: int) -> dict[str, Any]:
  """Returns the figures of both contenders, measured in turn."""
  words = str(folder), str(seconds), str(layer)
  workers = {own: contenders.Worker(__file__, "--worker", own, *words) for own in CONTENDERS}
  count = max(1, round(10 / seconds))
  for worker in workers.values():
    worker.ask(count=2)  # compiles
  times: dict[str, list[float]] = {own: [] for own in workers}
  for _ in range(repeats):
    for own, worker in workers.items():
      times[own].append(worker.ask(count=count))
  for worker in workers.values():
    worker.close()
  speeds = {own: figures.spread([seconds / time for time in times[own]], 1) for own in times}
  for own, speed in speeds.items():
    print(f"{name}, {seconds:g} s, {own}: {figures.shown(speed)} s of audio per s", flush=True)
  ratio = round(speeds["ours"]["median"] / speeds["torch"]["median"], 2)
  print(f"{name}, {seconds:g} s: {ratio} times as fast", flush=True)
  return {"layer": layer, "audio_s_per_s": speeds, "ours_over_torch": ratio}


def answer(encode: Encode, count: int) -> float:
  """Returns the mean seconds of `count` encodings."""
  return contenders.timed(lambda: encode(count))[1] / count


def noise(seconds: float) -> np.ndarray:
  """Returns noise whose level and color change."""
  samples = round(seconds * RATE_HZ)
  white = np.random.default_rng(0).normal(0, 1, samples + 1)
  level = 0.02 + 0.1 * np.abs(np.sin(np.arange(samples) / 1_700))
  return (level * (white[1:] + white[:-1])).astype(np.float32)


def ours(folder: Path, seconds: float, layer: int) -> Encode:
  """Returns encode(n) of ours."""
  from audiopalm.models.pytorch import encoders

  encoder, wave_S = encoders.open(folder, layer), noise(seconds)

  def encode(count: int) -> None:
    for _ in range(count):
      encoder.encode(wave_S)

  return encode


def transformers(folder: Path, seconds: float, layer: int) -> Encode:
  """Returns encode(n) of the class of transformers, including feature extraction."""
  from audiopalm.models.pytorch import encoders

  states, wave_S = encoders.published_states(folder, layer), noise(seconds)

  def encode(count: int) -> None:
    for _ in range(count):
      states(wave_S)

  return encode


def recording(path: Path) -> np.ndarray:
  """Returns the first 30 s of a recording."""
  from audiopalm.audio import waveform

  return waveform.read(path)[: 30 * RATE_HZ]


def parity(folder: Path, wave_S: np.ndarray) -> str:
  """Returns the largest differences of our states and those of PyTorch in float32 and float64."""
  import jax
  import torch

  from audiopalm.models.pytorch import encoders

  extract, model = encoders.published(folder)

  def published_states(inputs: dict[str, torch.Tensor]) -> np.ndarray:
    with torch.inference_mode():
      output = model(**inputs, output_hidden_states=True)
    return torch.stack([*output.hidden_states[:-1], output.last_hidden_state]).numpy()[:, 0]

  inputs = extract(wave_S)
  single_LTD = published_states(inputs)
  model = model.double()
  doubles = {name: x.double() if x.is_floating_point() else x for name, x in inputs.items()}
  double_LTD = published_states(doubles)
  encoder = encoders.open(folder)
  states = jax.jit(encoder.model.all_states)
  hidden_LBTD, valid_BT = states(encoder.params, wave_S[None], np.array([len(wave_S)]))
  valid_T = np.asarray(valid_BT)[0]
  ours_LTD = np.asarray(hidden_LBTD)[:, 0]

  def difference(first_LTD: np.ndarray, second_LTD: np.ndarray) -> str:
    error_LTD = np.abs(first_LTD - second_LTD)[:, valid_T]
    layer = error_LTD.max((1, 2)).argmax()
    largest = np.abs(second_LTD[layer, valid_T]).max()
    error = error_LTD[layer].max()
    return f"{error:.1e} (layer {layer}, {error / largest:.1e} of its largest value)"

  return (
    f"{len(ours_LTD)} states of {valid_T.sum()} frames: ours and PyTorch's float32 differ by at "
    f"most {difference(ours_LTD, single_LTD)}, ours and float64 {difference(ours_LTD, double_LTD)},"
    f" float32 and float64 of PyTorch {difference(single_LTD, double_LTD)}"
  )


CONTENDERS = {"ours": ours, "torch": transformers}


if __name__ == "__main__":
  main()

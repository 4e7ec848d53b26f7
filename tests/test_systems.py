"""Systems of configs/systems, made small: trained through the command line, scored and asked."""

import json
from pathlib import Path

import numpy as np
import pytest

import audiopalm
from audiopalm import layouts
from audiopalm.audio import waveform
from audiopalm.cli import main
from audiopalm.inference import decode, prompting
from audiopalm.types import Utterance

FOLDER = Path(__file__).parents[1] / "configs" / "systems"
SMALL = (
  "train_records=24", "test_records=4", "tokenizers.text.size=400", "steps=3",
  "model.layers=1", "model.width=64", "model.heads=1", "model.kv_heads=1", "model.hidden=96",
  "optimizer.warmup_steps=1", "data.batch_rows=2", "checkpoint_every_steps=3",
  "evaluation.every_steps=3", "evaluation.held_out_batch_rows=2", "evaluation.examples=2",
  "evaluation.decode_batch_rows=2", "evaluation.max_output_rows=48",
)  # fmt: skip


def trained(name, workdir, *settings):
  """Returns the run of a config of FOLDER after three steps."""
  changes = [part for setting in (*SMALL, *settings) for part in ("--set", setting)]
  line = ["train", str(FOLDER / f"{name}.py"), "--workdir", str(workdir), *changes]
  assert main.main(line) == 0
  metrics = [json.loads(line) for line in open(workdir / "metrics.jsonl")]
  losses = [line["loss"] for line in metrics if "loss" in line]
  assert len(losses) == 3 and np.isfinite(losses).all()
  return audiopalm.load(workdir)


def shortest(run, task, stream):
  """Returns the test record whose stream is shortest, which no limit of length refuses."""
  entries = run.prepared.entries(run.prepared.task(task), "test")
  return entries[int(np.argmin(entries.lengths[f"source.{stream}"]))]


@pytest.mark.long
def test_spirit_lm_learns_turns_and_continues_speech_and_text(tmp_path):
  run = trained("spirit_lm", tmp_path / "run", "tokenizers.units.size=16")
  tasks = ("interleaved", "continuation", "text")
  scores = run.evaluate(workers=0)
  assert all(np.isfinite(scores[task]["nll"]) for task in tasks)
  assert set(scores["interleaved"]["modalities"]) == {"text", "speech", "special"}
  said = shortest(run, "text", "text").utterances["source"]
  (written,) = run.generate("text", text=said.text, language=said.language)
  assert written.text.startswith(said.text)
  spoken = shortest(run, "continuation", "units").utterances["source"]
  wave_S = waveform.read_flac(spoken.wave_flac)
  (heard,) = run.generate("continuation", audio=wave_S, language=spoken.language)
  assert len(heard.wave_S)


@pytest.mark.long
def test_voicecraft_is_asked_to_edit_as_it_was_trained(tmp_path, monkeypatch):
  run = trained("voicecraft", tmp_path / "run", "tokenizers.codes.size=16")
  scores = run.evaluate(workers=0)
  assert np.isfinite(scores["tts"]["nll"])
  prepared, layout = run.prepared, run.prepared.layouts["tts"]
  entry = shortest(run, "tts", "codes")
  said = entry.utterances["source"]
  wave_S = waveform.read_flac(said.wave_flac)
  utterance = Utterance(wave_S, waveform.RATE_HZ, said.text, said.language, said.speaker)
  codes_TQ = prepared.tokenizers["codes"].encode(utterance)
  streams = {**entry.streams, "source.codes": codes_TQ}
  tag = layouts.tag_of(prepared.task("tts"), entry.languages)
  blocks = layout.grammar(prepared.space.streams).blocks
  asked, answers = [], []

  def remember(model, params, prompts, *given, **options):
    asked.extend(prompts)
    return decoded(model, params, prompts, *given, **options)

  def answer(*given, **options):
    answers.extend(continued(*given, **options))
    return answers[-1:]

  decoded, continued = decode.decode, prompting.continuations
  monkeypatch.setattr(decode, "decode", remember)
  monkeypatch.setattr(prompting, "continuations", answer)
  ask = {"text": said.text, "language": said.language}
  for key in range(3):
    grid = layouts.realize(layout, streams, tag, prepared.space, (key,))
    pieces = layouts.recover(layout, grid.tokens_LK, prepared.space).pieces
    holes = [piece.frames for piece in pieces if blocks[piece.block].end == "span_end"]
    ends = [None if hole.stop == len(codes_TQ) else hole.stop / 25 for hole in holes]
    spans = [(hole.start / 25, end) for hole, end in zip(holes, ends, strict=True)]
    (edited,) = run.generate("tts", edit=wave_S, spans=spans, **ask)
    assert len(edited.wave_S)
    prompt = asked[-1]
    np.testing.assert_array_equal(prompt.tokens_LK, grid.tokens_LK[: len(prompt)])
    assert grid.weights_LK[len(prompt)].any()
    kept_TQ = answers[-1].streams["source.codes"][: holes[0].start]
    np.testing.assert_array_equal(kept_TQ, codes_TQ[: holes[0].start])
  assert len({prompt.tokens_LK.tobytes() for prompt in asked}) == 3

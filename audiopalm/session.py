"""Trained runs in Python: `generate`, `evaluate` and `export`.

run = audiopalm.load("runs/quickstart")
run.generate("asr", audio=["hello.wav"])[0].text
"""

import dataclasses
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import jax

from audiopalm import experiment as experiments
from audiopalm import sharding
from audiopalm.audio import sources
from audiopalm.data import prepare, store
from audiopalm.errors import ConfigError
from audiopalm.evaluation import runner
from audiopalm.exports import folder
from audiopalm.inference import generate
from audiopalm.inference import sampling as samplings
from audiopalm.inference.editing import Span
from audiopalm.inference.generate import Failure, Input, Result
from audiopalm.inference.sampling import Sampling
from audiopalm.inference.trained import Trained
from audiopalm.parts import machines
from audiopalm.settings import Machine
from audiopalm.training import checkpoint, state


@dataclasses.dataclass(frozen=True, eq=False)
class Session(Trained):
  """An opened run. Its methods write only to WORKDIR/evaluation."""

  workdir: Path

  def generate(
    self,
    task: str,
    *,
    audio: object | Sequence[object] | None = None,
    text: Sequence[str] | str | None = None,
    language: str | None = None,
    source: str | None = None,
    target: str | None = None,
    voice: str | None = None,
    temperature: float = 0.0,
    top_k: int | None = None,
    top_p: float | None = None,
    beams: int = 1,
    length_penalty: float = 0.6,
    seed: int = 0,
    edit: object | None = None,
    transcript: str | None = None,
    spans: Sequence[Span] = (),
  ) -> list[Result]:
    """Returns one Result per input: `.text`, `.wave_S` (at `.rate_hz`), `.languages`, ...

    `audio` is one or more recordings, `text` one or more texts, as the task takes. A recording is a
    path, bytes, an open file, a wave (float32 at 16 kHz), (wave, rate), or a row of a dataset,
    {"array": wave, "sampling_rate": rate}; an array of two axes is one recording, its channels
    along the shorter axis. A temperature of 0 is greedy decoding; more than one of `beams` is beam
    search (`inference.sampling.Beams`). Missing languages are found by likelihood. `edit` is a
    recording of which a part is replaced, so that it says `text`: the words that differ from its
    present `transcript`, or `spans` in seconds. It needs a task whose layout fills spans
    (`Infilling`). AudioError for the first input that cannot be read, ConfigError for an unknown
    task, language or voice.

        run.generate("s2st", audio="a.wav", source="en", target="fr", seed=1)[0].wave_S
        run.generate("tts", edit="a.wav", text="good evening", spans=[(0.4, 0.9)])[0].wave_S
    """
    inputs = (
      read_inputs(audio, text) if edit is None else [read_edit(edit, text, transcript, spans)]
    )
    results = generate.generate(
      self,
      task,
      inputs,
      language=language,
      source=source,
      target=target,
      voice=voice,
      sampling=samplings.choose(beams, length_penalty, Sampling(temperature, top_k, top_p)),
      seed=seed,
    )
    for result in results:
      if isinstance(result, Failure):
        raise result.error
    return results

  def evaluate(
    self,
    tasks: Sequence[str] | None = None,
    say: Callable[[str], None] = lambda text: None,
    **options: object,
  ) -> dict:
    """Returns the scores of tasks (None: all), which are also written to WORKDIR/evaluation.

    `options` are the fields of `evaluation.runner.Options`. It starts processes unless `workers` is
    0, so in a script call it under `if __name__ == "__main__":`.

        run.evaluate(["asr"], beams=4)
        run.evaluate(suites=["all"], pairs=["swuggy.jsonl"], meters=[listeners.Dnsmos()])
    """
    return runner.evaluate(self, self.workdir, runner.Options(tasks, **options), say)

  def judge(
    self,
    task: str | None,
    pairs: Sequence[str | os.PathLike],
    say: Callable[[str], None] = lambda text: None,
    workers: int | None = None,
  ) -> dict:
    """Returns {file: scores} of pairs of a right and a wrong text or recording
    (`evaluation.pairs`), by the likelihoods of a task without inputs (None: the first that fits).
    """
    options = runner.Options(pairs=pairs, judged_by=task, workers=workers)
    return runner.judge(self, self.workdir, options, say)

  def export(self, out: str | os.PathLike) -> str:
    """Writes the run as a folder for PyTorch; returns the name of the class or file that runs it.

    Low-rank adapters are merged into their kernels. ConfigError unless `out` is empty or does not
    exist. See docs/export.md.
    """
    longest = {
      task.name: {".".join(side): self.prepared.longest_input(task, side) for side in task.sides}
      for task in self.experiment.tasks
    }
    settings, params = self.experiment.model.without_adapters(jax.device_get(self.params))
    experiment = dataclasses.replace(self.experiment, model=settings)
    run = folder.ExportedRun(
      experiment, self.prepared.tokenizers, self.prepared.manifest, params, self.step, longest,
      jax.device_get(self.variables),
    )  # fmt: skip
    return folder.write(Path(out), run, self.prepared)


def load(
  workdir: str | os.PathLike,
  machine: Machine | str | None = None,
  step: int | None = None,
  products: str | None = None,
  trust: Sequence[str] = (),
) -> Session:
  """Opens the run in a workdir, or in an object store (gs://bucket/run, which is copied), with the
  parameters of its newest readable checkpoint or of the one of `step`.

  `machine` is a Machine, its name, or the path of its JSON file (`parts.machines`); None for the
  default of the first device. `products` is the dtype of matrix products, None for that of the run;
  a machine that lacks that dtype uses its own, with a note on stderr. `trust` names the packages
  outside of audiopalm whose classes the run's config names: their code is imported. CheckpointError
  if nothing was trained yet, TokenSpaceError if the workdir was prepared again with other token
  ids.
  """
  workdir = store.fetched(str(workdir)) if store.is_address(str(workdir)) else Path(workdir)
  if not workdir.is_dir():
    raise ConfigError(
      f"There is no run in {workdir}: no such folder. Train one: "
      f"audiopalm train CONFIG --workdir {workdir}"
    )
  if isinstance(machine, str):
    machine = machines.named(machine)
  newest = checkpoint.latest(workdir, lambda text: None, step)  # restoring reports damaged ones
  machine = _settled(machine or machines.default(), products, newest.products)
  mesh, opened = sharding.mesh(machine), {}

  def expected(meta: checkpoint.Meta) -> checkpoint.Expected:
    experiment = experiments.from_json(meta.experiment, trust)
    prepared = prepare.open_run(experiment, workdir)
    model = experiment.model.build(prepared.space)
    opened[meta.step] = experiment, prepared, model
    params = model.shapes(mesh)
    variables = state.variable_shapes(experiment.objective, model, params, mesh)
    return checkpoint.Expected(params, variables, prepared.manifest)

  params, variables, meta = checkpoint.restore_model(workdir, expected, _warn, step)
  return Session(*opened[meta.step], params, variables, machine, meta.step, workdir)


def _settled(machine: Machine, products: str | None, kept: str | None) -> Machine:
  kept = kept or machine.compute_dtype  # not recorded in older checkpoints
  if not (products or machine.product_dtype) and (why := machines.lacking(machine, kept)):
    machine, _ = machines.choose_products(machine)
    _warn(
      f"This run was trained with matrix products in {kept}, but {why}: it answers with products "
      f"in {machine.products}, which may change some answers as rounding does."
    )
  return machines.choose_products(machine, products, kept)[0]


def read_inputs(
  audio: object | Sequence[object] | None, text: Sequence[str] | str | None
) -> list[Input]:
  """Returns the inputs of a call, named by path or number."""
  if (audio is None) == (text is None):
    raise ConfigError("Give either audio or text, as the task takes.")
  if text is not None:
    texts = [text] if isinstance(text, str) else list(text)
    return [Input(f"text {number}", text=string) for number, string in enumerate(texts, 1)]
  recordings = [audio] if sources.is_recording(audio) else list(audio)
  return [_recording(number, recording) for number, recording in enumerate(recordings, 1)]


def read_edit(
  recording: object, text: Sequence[str] | str | None, transcript: str | None, spans: Sequence[Span]
) -> Input:
  """Returns the input for a recording to be edited; see `Session.generate`."""
  texts = [text] if isinstance(text, str) else list(text or ())
  if len(texts) != 1:
    raise ConfigError(
      f"A recording to edit takes one text, all that it shall say then; {len(texts)} came."
    )
  if (transcript is None) == (not spans):
    raise ConfigError(
      "A recording to edit takes its transcript, which is compared with the text, or the spans to "
      "be spoken anew: one of the two."
    )
  edits = tuple(spans) if transcript is None else transcript
  return dataclasses.replace(_recording(1, recording), text=texts[0], edits=edits)


def _recording(number: int, audio: object) -> Input:
  named = isinstance(audio, (str, os.PathLike))
  name = os.fspath(audio) if named else f"recording {number}"
  loaded = sources.load(audio, name)
  return Input(name, wave_S=loaded.wave_S, notes=loaded.notes, joins=loaded.joins)


def _warn(text: str) -> None:
  print(text, file=sys.stderr)

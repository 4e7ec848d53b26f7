"""A trained run, opened: the command line's `generate` and `evaluate` from Python.

run = audiopalm.load("runs/quickstart")
run.generate("asr", audio=["hello.wav"])[0].text
"""

import dataclasses
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax

from audiopalm import experiment as experiments
from audiopalm import sharding
from audiopalm.audio import given
from audiopalm.data import imported, prepare
from audiopalm.errors import ConfigError
from audiopalm.evaluation import runner
from audiopalm.evaluation.meters import Meter
from audiopalm.evaluation.recognizers import EACH, Recognizer
from audiopalm.export import folder
from audiopalm.inference import generate, prompting
from audiopalm.inference import sampling as samplings
from audiopalm.inference.generate import Failure, Input, Result
from audiopalm.inference.sampling import Sampling
from audiopalm.inference.trained import Trained
from audiopalm.parts import machines
from audiopalm.settings import Machine
from audiopalm.training import checkpoint, state


@dataclasses.dataclass(frozen=True, eq=False)
class Session(Trained):
  """A run that is ready to answer. Its methods change nothing in the run but WORKDIR/evaluation."""

  workdir: Path

  def generate(
    self,
    task: str,
    *,
    audio: Sequence[Any] | Any | None = None,
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
  ) -> list[Result]:
    """Returns one Result per input: `.text`, `.wave_S` (at `.rate_hz`), `.languages`, ...

    `audio` is one or more recordings, `text` one or more texts: what the task takes. A recording is
    a path, bytes, an open file, a wave (float32 at 16 kHz), (wave, rate), or a row of a dataset,
    {"array": wave, "sampling_rate": rate}; an array of two axes is one recording, its channels
    along the shorter axis (`audio.given`). A temperature of 0 takes the likeliest token every time;
    more `beams` than one search for the likeliest answer (`inference.sampling.Beams`). Languages
    left out are found by likelihood. Raises AudioError for the first input that cannot be read,
    ConfigError for a task, language or voice the run does not know.

        run.generate("s2st", audio="a.wav", source="en", target="fr", seed=1)[0].wave_S
    """
    results = self.answer(
      task,
      read_inputs(audio, text),
      language=language,
      source=source,
      target=target,
      voice=voice,
      sampling=samplings.chosen(beams, length_penalty, Sampling(temperature, top_k, top_p)),
      seed=seed,
    )
    for result in results:
      if isinstance(result, Failure):
        raise result.error
    return results

  def answer(self, task: str, inputs: Sequence[Input], **options: Any) -> list[Result | Failure]:
    """Returns what `inference.generate.generate` does: a Failure where an input has no answer."""
    return generate.generate(self, task, inputs, **options)

  def output_modalities(self, task: str) -> tuple[str, ...]:
    """Returns "text" or "speech" for each output of a task; ConfigError for an unknown one."""
    found = prompting.find_task(self.experiment, task)
    return prompting.output_modalities(self, found)

  def evaluate(
    self,
    tasks: Sequence[str] | None = None,
    say: Callable[[str], None] = lambda text: None,
    workers: int | None = None,
    compared: bool = True,
    beams: int | None = None,
    length_penalty: float | None = None,
    suites: Sequence[str] | None = None,
    pairs: Sequence[str | os.PathLike] = (),
    recognizer: Recognizer | None = None,
    recordings_each: int | None = EACH,
    meters: Sequence[Meter] = (),
  ) -> dict:
    """Returns the scores of the tasks named (None: all); they lie in WORKDIR/evaluation too.

    Tasks are chosen by `suites` too, by what they do (`evaluation.suites`): ["translation"], or
    ["all"]; the suite "zero_resource" judges the files of `pairs`. Generated speech is transcribed
    by the run itself and by a `recognizer` beside it (`evaluation.recognizers`), which also hears
    `recordings_each` recordings of every voice (None: all), and measured by `meters`
    (`evaluation.meters`). With `compared` baselines are asked too. Answers are looked for with
    `beams` and `length_penalty`, None for those of the config. It starts `workers` processes that
    make sound (None: one per core, 0: none), so in a script call it under
    `if __name__ == "__main__":`.
    """
    given = {"beams": beams, "length_penalty": length_penalty}
    changes = {name: value for name, value in given.items() if value is not None}
    evaluation = dataclasses.replace(self.experiment.evaluation, **changes)
    experiment = dataclasses.replace(self.experiment, evaluation=evaluation)
    return runner.evaluate(
      dataclasses.replace(self, experiment=experiment),
      self.workdir,
      tasks=tasks,
      within=suites,
      manifests=[Path(path) for path in pairs],
      recognizer=recognizer,
      recordings_each=recordings_each,
      meters=meters,
      say=say,
      workers=workers,
      compared=compared,
    )

  def judge(
    self,
    task: str | None,
    manifests: Sequence[str | os.PathLike],
    say: Callable[[str], None] = lambda text: None,
    workers: int | None = None,
  ) -> dict:
    """Returns {manifest: scores} of pairs of a right and a wrong text or recording
    (`evaluation.pairs`), by the likelihoods of a task without inputs, None for the first that fits
    each; `workers` as in `evaluate`.
    """
    return runner.judge(
      self,
      self.workdir,
      task=task,
      manifests=[Path(path) for path in manifests],
      say=say,
      workers=workers,
    )

  def export(self, out: str | os.PathLike) -> str:
    """Writes the run as a folder for PyTorch; returns the name of the class or file that runs it.

    Low-rank adapters are added to their kernels. `out` must not exist, or be empty: ConfigError.
    See docs/export.md.
    """
    if self.variables:
      raise ConfigError(
        f"The objective of this run keeps variables ({', '.join(self.variables)}), which an "
        "exported folder does not hold: what PyTorch would run is not the whole of it."
      )
    longest = {
      task.name: {".".join(side): self.prepared.longest_input(task, side) for side in task.sides}
      for task in self.experiment.tasks
    }
    settings, params = self.experiment.model.without_adapters(jax.device_get(self.params))
    experiment = dataclasses.replace(self.experiment, model=settings)
    run = folder.Run(
      experiment, self.prepared.tokenizers, self.prepared.manifest, params, self.step, longest
    )
    return folder.write(Path(out), run, self.prepared)


def load(
  workdir: str | os.PathLike,
  machine: Machine | str | None = None,
  step: int | None = None,
  products: str | None = None,
) -> Session:
  """Returns the run in a workdir with the parameters of its newest readable checkpoint, or of that
  of `step`.

  `machine` is a Machine, the name of one or the path of its JSON file (`parts.machines`), None for
  the one that fits the first device. It multiplies in the dtype `products`, None for that of the
  run; a machine that lacks the run's takes its own and says so on stderr, so that what was trained
  elsewhere can be heard anywhere.
  CheckpointError where nothing was trained yet, ManifestError where the workdir was prepared anew
  with other token ids.
  """
  workdir = Path(workdir)
  if not workdir.is_dir():
    raise ConfigError(
      f"There is no run in {workdir}: no such folder. Train one: "
      f"audiopalm train CONFIG --workdir {workdir}"
    )
  if isinstance(machine, str):
    machine = machines.named(machine)
  newest = checkpoint.latest(workdir, lambda text: None, step)  # restoring says what is damaged
  machine = _settled(machine or machines.default(), products, newest.products)
  open_run = imported.open_run if imported.without_data(workdir) else prepare.open_prepared
  mesh, opened = sharding.mesh(machine), {}

  def expected(meta: checkpoint.Meta) -> checkpoint.Expected:
    experiment = experiments.from_json(meta.experiment)
    prepared = open_run(experiment, workdir)
    model = experiment.model.build(prepared.space)
    opened[meta.step] = experiment, prepared, model
    params = model.shapes(mesh)
    variables = state.variable_shapes(experiment.objective, model, params, mesh)
    return checkpoint.Expected(params, variables, prepared.manifest)

  params, variables, meta = checkpoint.restore_model(workdir, expected, _warn, step)
  return Session(*opened[meta.step], params, variables, machine, meta.step, workdir)


def _settled(machine: Machine, asked: str | None, kept: str | None) -> Machine:
  kept = kept or machine.compute_dtype  # of before checkpoints kept it
  if not (asked or machine.product_dtype) and (why := machines.lacking(machine, kept)):
    machine, _ = machines.settled(machine)
    _warn(
      f"This run was trained with matrix products in {kept}, but {why}: it answers with products "
      f"in {machine.products}, which may change some answers as rounding does."
    )
  return machines.settled(machine, asked, kept)[0]


def read_inputs(audio: Sequence[Any] | Any | None, text: Sequence[str] | str | None) -> list[Input]:
  """Returns the inputs of one call: recordings or texts, named by their path or number."""
  if (audio is None) == (text is None):
    raise ConfigError("Give audio or text: what the task takes, and not both.")
  if text is not None:
    texts = [text] if isinstance(text, str) else list(text)
    return [Input(f"text {number}", text=one) for number, one in enumerate(texts, 1)]
  recordings = [audio] if given.is_one(audio) else list(audio)
  return [_recording(number, one) for number, one in enumerate(recordings, 1)]


def _recording(number: int, audio: Any) -> Input:
  named = isinstance(audio, (str, os.PathLike))
  name = os.fspath(audio) if named else f"recording {number}"
  loaded = given.load(audio, name)
  return Input(name, wave_S=loaded.wave_S, notes=loaded.notes, joins=loaded.joins)


def _warn(text: str) -> None:
  print(text, file=sys.stderr)

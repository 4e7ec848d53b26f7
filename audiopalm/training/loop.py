"""A whole training run: open, resume, step, measure, save, sum up.

    audiopalm train -> run -> train_step -> objective.losses -> model

Batches are made and placed one ahead on a thread; the numbers of a step are read while the next one
computes. A batch is a pure function of the step, so to resume is to restore and to go on.
"""

import contextlib
import dataclasses
import functools
import json
from collections.abc import Callable, Iterator, Mapping
from concurrent import futures
from pathlib import Path
from typing import Any

import jax
import rich.console

from audiopalm import experiment as experiments
from audiopalm import sharding
from audiopalm.batch import Batch, Counts
from audiopalm.data import files, loader, past
from audiopalm.data import schedule as schedules
from audiopalm.errors import BadSteps, Requeue
from audiopalm.parts import runs
from audiopalm.settings import Machine
from audiopalm.tokens import space as token_space
from audiopalm.training import (
  checkpoint,
  goodput,
  guard,
  held_out,
  metrics,
  optimizers,
  progress,
  record,
  saving,
  state,
  step,
  summary,
  throughput,
  together,
  warm_start,
  watch,
  writing,
)
from audiopalm.training import learners as learning


@dataclasses.dataclass(frozen=True, eq=False)
class _Setting:
  """What a run is made of and never changes."""

  experiment: Any
  prepared: Any
  machine: Machine
  mesh: jax.sharding.Mesh
  workdir: Path
  model: Any
  learners: Mapping[str, learning.Learner]
  loader: loader.Loader
  key: jax.Array
  counted: Any  # which rows of a batch that this process reads it counts
  recheck_every: int  # steps of which one is computed twice; 0: none

  @property
  def accumulation(self) -> int:
    """Micro-batches a step."""
    data = self.experiment.data
    rows = data.batch_rows // sharding.batch_ways(self.mesh)
    return self.machine.accumulation(rows, data.length)


@dataclasses.dataclass(frozen=True, eq=False)
class _Watching:
  """What a run does beside its steps: it books time, writes numbers, measures, saves."""

  spent: goodput.Goodput
  recorder: record.Recorder
  held_out: held_out.HeldOut
  saving: saving.Saving
  had_step: int  # the last that an earlier start had begun

  def measure(self, number: int, now: state.TrainState) -> dict[str, dict[str, float]]:
    """Returns the held-out metrics of the state after a step, written and compared."""
    found = self.held_out.measure(now.params, now.variables)
    self.recorder.measured(number, found)
    self.saving.measured(number, found)
    return found


def run(
  experiment: Any,
  prepared: Any,
  machine: Machine,
  workdir: Path,
  *,
  console: rich.console.Console | None = None,
  hang_s: float | None = None,
  recheck_every: int = 0,
) -> summary.Summary:
  """Returns the summary of a finished run; goes on from its latest checkpoint if there is one.

  `prepared` is of `data.prepare.open_prepared`. Raises Requeue when a signal stopped the run (its
  state is saved), BadSteps when too many steps in a row were skipped, CheckpointError for a
  checkpoint that does not fit, FullDevice where the last one of this start finds no room.

  A step of more than `hang_s` seconds ends the process with 70 (`watch.Watch`). Each
  `recheck_every`-th step is computed twice: HardwareFault if that gives other bits.

  Of several processes all call it alike; the first one prints and writes the journals, all of them
  save.
  """
  workdir, writes = Path(workdir), together.is_first()
  console = (console or rich.console.Console()) if writes else rich.console.Console(quiet=True)
  workdir.mkdir(parents=True, exist_ok=True)
  spent = goodput.Goodput(workdir / "goodput.jsonl" if writes else None)
  mesh = sharding.mesh(machine)
  experiment.data.check_mesh(mesh)
  with (
    writing.full_device(workdir),
    jax.set_mesh(mesh),
    guard.stop_signals() as stop,
    contextlib.ExitStack() as stack,
  ):
    setting = _Setting(
      experiment,
      prepared,
      machine,
      mesh,
      workdir,
      model=experiment.model.build(prepared.space),
      learners=learning.of(experiment),
      loader=loader.Loader(
        prepared,
        experiment,
        mine=sharding.rows_here(mesh, experiment.data.batch_rows),
      ),
      key=jax.random.key(experiment.seed),
      counted=_counted(mesh, experiment.data.batch_rows),
      recheck_every=recheck_every,
    )
    stack.enter_context(watch.Watch(spent, workdir, jax.process_index(), hang_s))
    shown = progress.Progress(console, experiment.steps)
    now, before = _open(setting, shown.say)
    begun = int(now.step)
    if before is not None:
      setting = _going_on(setting, before)
    _introduce(setting, before, shown.say)
    # A run may have been stopped between a step and its held-out losses.
    owed = 0 < begun < experiment.steps and begun % experiment.evaluation.every_steps == 0
    journal = (
      metrics.Journal(workdir, begun, not owed, shown.say) if writes else metrics.Silent(begun)
    )
    stack.callback(lambda: spent.close(journal.last_step, journal.lost_steps))
    recorder = stack.enter_context(_recorder(setting, journal, shown, spent, before))
    held = held_out.HeldOut(experiment, prepared, setting.model, machine, mesh, spent)
    if experiment.keep_best is not None:
      held.check(experiment.keep_best, now.params, now.variables)
    keep = writing.Keep(experiment.keep_checkpoints, experiment.keep_every_steps)
    writer = stack.enter_context(writing.Writer(workdir, keep))
    saves = saving.Saving(writer, experiment, workdir, begun, spent, stop, shown.say)
    watching = _Watching(spent, recorder, held, saves, journal.had_step)
    stack.enter_context(shown.from_step(begun))
    if owed:
      watching.measure(begun, now)
    stack.enter_context(_blaming(setting, recorder, journal))
    now = _train(setting, now, watching, stop)
    found = watching.measure(int(now.step), now)
  result = _summary(setting, watching, int(now.step), found)
  result.show(console)
  return result


def _open(
  setting: _Setting, say: Callable[[str], None]
) -> tuple[state.TrainState, checkpoint.Meta | None]:
  """Returns the state to go on from and what its checkpoint says, None at a fresh start."""
  model, objective, mesh = setting.model, setting.experiment.objective, setting.mesh
  params_key, variables_key = jax.random.split(setting.key)
  shapes = model.shapes(mesh)
  wanted = state.shapes(
    shapes, state.variable_shapes(objective, model, shapes, mesh), setting.learners, mesh
  )
  found = checkpoint.restore_state(setting.workdir, wanted, setting.prepared.manifest, say)
  if found is not None:
    return found
  if together.is_first():
    with runs.saying(setting.workdir, setting.experiment.to_json()):
      pass
  warm = setting.experiment.warm_start
  if warm is None:
    params = model.init(params_key, mesh)
  else:
    space, trust = setting.prepared.space, setting.experiment.trust
    params = warm_start.params(warm, model, space, params_key, mesh, say, trust)
  variables = state.variables(objective, model, params, variables_key, mesh)
  return state.create(params, variables, setting.learners), None


def _going_on(setting: _Setting, before: checkpoint.Meta) -> _Setting:
  """Returns the setting whose batches go on where those of a checkpoint stopped."""
  kept = before.position.get("schedule")
  if kept is None:  # of before there were schedules: its settings had never changed
    made = loader.Loader(
      setting.prepared, experiments.from_json(before.experiment, setting.experiment.trust)
    )
    schedule = made.schedule
  else:
    schedule = schedules.from_json(kept)
  return dataclasses.replace(setting, loader=setting.loader.resumed(schedule, before.step))


def _train(
  setting: _Setting, now: state.TrainState, watching: _Watching, stop: guard.Stop
) -> state.TrainState:
  """Returns the state after the last step, saved. Raises Requeue where `stop` asks for it."""
  experiment, spent = setting.experiment, watching.spent
  recorder, saves = watching.recorder, watching.saving
  exchange = _exchange(setting)
  compiled = None
  with _ahead(functools.partial(_batch, setting), int(now.step), experiment.steps) as batches:
    for number in range(int(now.step) + 1, experiment.steps + 1):
      with spent.spend("data wait"):
        batch, counts = next(batches)
      if compiled is None:
        with spent.spend("compile"):
          compiled = _compiled(setting, now, batch)
      last = number == experiment.steps
      with spent.spend("step" if number > watching.had_step else "lost work"):
        now, found = compiled(number, now, batch)
        recorder.add(number, found, exchange.begin(counts, stop.asked_by))
        asked_by = exchange.asked_by
        stopping = bool(asked_by)
        saving_now = saves.is_due(number, stopping)
        if saving_now:
          recorder.flush()
      # A skipped step leaves the state as it was, but only a good one proves it.
      if saving_now and (recorder.streak == 0 or (last and recorder.any_finite)):
        saves.save(number, now, _meta(setting, number, recorder), stopping=stopping)
        if stopping:
          raise Requeue(
            f"Stopped by {asked_by} after step {number} of {experiment.steps}; everything is "
            f"saved in {setting.workdir}. Run the same command again: it goes on from there."
          )
      if not last and number % experiment.evaluation.every_steps == 0:
        with spent.spend("step"):
          recorder.flush()
        watching.measure(number, now)
  guard.check_saved(saves.due, experiment.steps)
  return now


def _compiled(
  setting: _Setting, now: state.TrainState, batch: Any
) -> Callable[[int, state.TrainState, Any], tuple[state.TrainState, Any]]:
  """Returns step(number, state, batch), which computes those twice that are to be rechecked."""
  experiment = setting.experiment
  made = step.build(
    setting.model,
    experiment.objective,
    setting.learners,
    setting.machine,
    setting.accumulation,
    experiment.optimizer.spike,
  )
  compiled = made.lower(now, batch, setting.key).compile()
  together.gathered(None)  # the first collectives of a step wait for nobody's compiler

  def take(number, now, batch):
    if setting.recheck_every and number % setting.recheck_every == 0:
      return guard.computed_twice(compiled, now, batch, setting.key, number)
    return compiled(now, batch, setting.key)

  return take


@contextlib.contextmanager
def _blaming(
  setting: _Setting, recorder: record.Recorder, journal: metrics.Journal | metrics.Silent
) -> Iterator[None]:
  """Writes down what the last bad steps were given, where they end the run."""
  try:
    yield
  except BadSteps:
    last = journal.last_step
    steps = range(last - min(recorder.streak, guard.MOST_BAD_STEPS) + 1, last + 1)
    if together.is_first():
      given = past.records(setting.prepared, setting.experiment, steps, setting.loader.schedule)
      files.write_json(setting.workdir / guard.FILE, given)
    raise


def _batch(setting: _Setting, number: int) -> tuple[Batch, Counts]:
  batch = setting.loader.batch_at(number)
  counts = batch.count(len(setting.loader.tasks), setting.counted, setting.loader.first_row)
  rows = setting.experiment.data.batch_rows
  return sharding.place(batch, setting.mesh, batch.axes(), rows), counts


def _counted(mesh: jax.sharding.Mesh, batch_rows: int) -> Any:
  return slice(None) if jax.process_count() == 1 else sharding.counted_here(mesh, batch_rows)


def _exchange(setting: _Setting) -> together.Alone | together.Exchange:
  if jax.process_count() == 1:
    return together.Alone()
  return together.Exchange(setting.mesh, len(setting.loader.tasks), setting.experiment.data.length)


@contextlib.contextmanager
def _ahead(make: Callable[[int], Any], first: int, end: int) -> Iterator[Iterator[Any]]:
  """Yields an iterator over make(first), ..., make(end - 1), each made one ahead."""
  pool = futures.ThreadPoolExecutor(1, thread_name_prefix="batches")

  def made():
    coming = pool.submit(make, first) if first < end else None
    for number in range(first, end):
      here = coming.result()
      coming = pool.submit(make, number + 1) if number + 1 < end else None
      yield here

  try:
    yield made()
  finally:
    pool.shutdown(wait=True, cancel_futures=True)


def _recorder(
  setting: _Setting,
  journal: metrics.Journal,
  shown: progress.Progress,
  spent: goodput.Goodput,
  before: checkpoint.Meta | None,
) -> record.Recorder:
  experiment, prepared = setting.experiment, setting.prepared
  tasks = setting.loader.tasks
  seen = throughput.Seen(
    [task.name for task in tasks],
    setting.loader.feed.rows,
    before.position["seen"] if before else None,
  )
  flops = functools.partial(experiment.model.flops_per_token, prepared.space)
  devices = setting.mesh.devices
  meter = record.Meter(functools.cache(flops), devices.flat[0].device_kind, devices.size)
  rate = functools.partial(optimizers.learning_rate, experiment.optimizer, experiment.steps)
  return record.Recorder(journal, shown, spent, seen, meter, rate)


def _meta(setting: _Setting, number: int, recorder: record.Recorder) -> checkpoint.Meta:
  return checkpoint.Meta(
    step=number,
    experiment=setting.experiment.to_json(),
    manifest=setting.prepared.manifest,
    position={
      "step": number,
      "seen": recorder.seen.by_task(),
      "schedule": schedules.to_json(setting.loader.schedule),
    },
    versions=checkpoint.versions(),
    products=setting.machine.products,
  )


def _introduce(
  setting: _Setting, before: checkpoint.Meta | None, say: Callable[[str], None]
) -> None:
  """Says what runs on what, and at a resume what has changed since the checkpoint."""
  experiment, machine, devices = setting.experiment, setting.machine, setting.mesh.devices
  axes = ", ".join(f"{axis}={size}" for axis, size in setting.mesh.shape.items())
  processes = f" of {jax.process_count()} processes" if jax.process_count() > 1 else ""
  dtypes = machine.compute_dtype
  if machine.products != dtypes:
    dtypes += f" with products in {machine.products}"
  say(
    f"machine {machine.name}: {devices.size} x {devices.flat[0].device_kind}{processes}, "
    f"mesh {axes}, "
    f"{dtypes}, {machine.attention} attention, remat {machine.remat}, "
    f"{setting.accumulation} micro-batches a step"
  )
  parameters = experiment.model.parameters(setting.prepared.space)
  say(
    f"experiment {experiment.name}: {parameters:,} parameters, {len(experiment.tasks)} tasks, "
    f"{experiment.data.batch_rows} rows of {experiment.data.length} a step, "
    f"{experiment.steps} steps"
  )
  if before is None:
    return
  say(f"resuming after step {before.step} of {setting.workdir}")
  earlier = experiments.from_json(before.experiment, experiment.trust)
  changed = token_space.difference(_settings(earlier.to_json()), _settings(experiment.to_json()))
  if before.products not in (None, machine.products):
    say(f"changed since that checkpoint: products {before.products} -> {machine.products}")
  for line in changed.splitlines():
    say(f"changed since that checkpoint: {line}")


def _settings(experiment: str) -> dict[str, Any]:
  """Returns the settings of an experiment with each task of the mixture under its name, so that a
  rate that changed is one line."""
  found = json.loads(experiment)
  tasks = found["mixture"]["tasks"]
  found["mixture"]["tasks"] = {task["name"]: {**task, "rate": rate} for task, rate in tasks}
  return found


def _summary(
  setting: _Setting, watching: _Watching, number: int, found: dict[str, dict[str, float]]
) -> summary.Summary:
  recorder = watching.recorder
  seconds = max(recorder.busy_s(), 1e-9)
  return summary.Summary(
    name=setting.experiment.name,
    workdir=setting.workdir,
    step=number,
    parameters=setting.experiment.model.parameters(setting.prepared.space),
    held_out=found,
    seen=recorder.seen.by_task(),
    seconds=dict(watching.spent.seconds),
    tokens_per_s=recorder.tokens / seconds,
    mfu=recorder.mfu(),
    skipped=recorder.skipped,
    best=watching.saving.best,
    answers=setting.experiment.data.answers,
  )

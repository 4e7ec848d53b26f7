"""A training run: open, resume, step, measure, save, summarize.

    cli.main.main -> cli.train.run -> run -> _train -> _compiled
      -> step.train_step -> gradients -> sums -> objective.losses -> model.hidden

A thread makes and places the next batch, and the metrics of a step are read while the next one
computes. A batch is a pure function of the step, so resuming restores the state and continues.
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
from audiopalm.data.prepared import Prepared
from audiopalm.errors import BadSteps, Requeue
from audiopalm.experiment import Experiment
from audiopalm.models.base import Model
from audiopalm.parts import machines
from audiopalm.settings import Machine
from audiopalm.sharding import ArrayTree
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
  together,
  warm_start,
  writing,
)


@dataclasses.dataclass(frozen=True, eq=False)
class _Setup:
  """The parts of a run that are the same at every step."""

  experiment: Experiment
  prepared: Prepared
  machine: Machine
  mesh: jax.sharding.Mesh
  workdir: Path
  timer: goodput.Goodput
  display: progress.Progress
  model: Model
  learners: Mapping[str, state.Learner]
  loader: loader.Loader
  key: jax.Array
  recheck_every: int  # each n-th step is computed twice; 0: none

  @property
  def accumulation(self) -> int:
    """Micro-batches per step."""
    data = self.experiment.data
    rows = data.batch_rows // sharding.batch_ways(self.mesh)
    return self.machine.accumulation(rows, data.length)


@dataclasses.dataclass(frozen=True, eq=False)
class _Monitors:
  """The actions of a run between steps: measuring held-out losses, logging and saving."""

  journal: metrics.Journal
  recorder: record.Recorder
  held_out: held_out.HeldOut
  saving: saving.Saving

  def measure(self, train_state: state.TrainState) -> dict[str, dict[str, float]]:
    """Returns the held-out metrics of a state, after logging them and comparing them with the
    best."""
    losses = self.held_out.measure(train_state.params, train_state.variables)
    number = int(train_state.step)
    self.recorder.write_held_out(number, losses)
    self.saving.compare(number, losses)
    return losses


def run(
  experiment: Experiment,
  prepared: Prepared,
  machine: Machine,
  workdir: Path,
  *,
  console: rich.console.Console | None = None,
  hang_s: float | None = None,
  recheck_every: int = 0,
) -> progress.Summary:
  """Trains to the last step, resuming from the latest checkpoint if any; returns a summary.

  `prepared` is of `data.prepare.open_prepared`. A step of more than `hang_s` seconds ends the
  process with exit code 70 (`goodput.watched`). Each `recheck_every`-th step is computed twice. All
  processes of a run call it with the same arguments; only the first prints and logs, all of them
  save.

  Raises Requeue if a signal stopped the run (its state is saved), BadSteps if too many steps in a
  row were skipped, CheckpointError for a checkpoint that does not fit, FullDevice if there is no
  room for the last one, HardwareFault if a step computed twice gives different bits.
  """
  workdir, is_first = Path(workdir), together.is_first()
  console = (console or rich.console.Console()) if is_first else rich.console.Console(quiet=True)
  display = progress.Progress(console, experiment.steps)
  workdir.mkdir(parents=True, exist_ok=True)
  timer = goodput.Goodput(workdir / "goodput.jsonl" if is_first else None)
  mesh = sharding.mesh(machine)
  experiment.data.check_mesh(mesh)
  with (
    writing.full_device(workdir),
    jax.set_mesh(mesh),
    guard.stop_signals() as stop,
    contextlib.ExitStack() as stack,
  ):
    rows = sharding.rows_here(mesh, experiment.data.batch_rows)
    setup = _Setup(
      experiment,
      prepared,
      machine,
      mesh,
      workdir,
      timer,
      display,
      model=experiment.model.build(prepared.space),
      learners=state.learners_of(experiment),
      loader=loader.Loader(prepared, experiment, mine=rows),
      key=jax.random.key(experiment.seed),
      recheck_every=recheck_every,
    )
    stack.enter_context(goodput.watched(timer, workdir, jax.process_index(), hang_s))
    train_state, restored = _restore_or_init(setup)
    begun = int(train_state.step)
    if restored is not None:
      setup = _at_checkpoint(setup, restored)
    _print_header(setup, restored)
    # The run may have stopped between a step and the measurement of its held-out losses.
    due = begun % experiment.evaluation.every_steps == 0
    unmeasured = due and 0 < begun < experiment.steps
    journal = metrics.Journal(workdir if is_first else None, begun, not unmeasured, display.say)
    stack.callback(lambda: timer.close(journal.last_step, journal.lost_steps))
    stack.callback(journal.close)
    recorder = _recorder(setup, journal, restored)
    evaluator = held_out.HeldOut(experiment, prepared, setup.model, machine, mesh, timer)
    if experiment.keep_best is not None:
      evaluator.check(experiment.keep_best, train_state.params, train_state.variables)
    keep = experiment.keep_checkpoints, experiment.keep_every_steps
    writer = stack.enter_context(writing.Writer(workdir, *keep))
    saver = saving.Saving(writer, experiment, workdir, begun, timer, stop, display.say)
    monitors = _Monitors(journal, recorder, evaluator, saver)
    stack.enter_context(display.from_step(begun))
    if unmeasured:
      monitors.measure(train_state)
    try:
      train_state = _train(setup, train_state, monitors, stop)
    except BadSteps:
      last, streak = journal.last_step, min(recorder.streak, guard.MOST_BAD_STEPS)
      if is_first:
        bad = range(last - streak + 1, last + 1)
        records = past.records(prepared, experiment, bad, setup.loader.schedule)
        files.write_json(workdir / guard.FILE, records)
      raise
    losses = monitors.measure(train_state)
  summary = _summary(setup, monitors, int(train_state.step), losses)
  summary.show(display)
  return summary


def _restore_or_init(setup: _Setup) -> tuple[state.TrainState, checkpoint.Meta | None]:
  """Returns the state to start from and the metadata of its checkpoint, None for a new run."""
  model, objective, mesh = setup.model, setup.experiment.objective, setup.mesh
  say = setup.display.say
  target = state.shapes(model, objective, setup.learners, mesh)
  restored = checkpoint.restore_state(setup.workdir, target, setup.prepared.manifest, say)
  if restored is not None:
    return restored
  if together.is_first():
    with experiments.replacing_config(setup.workdir, setup.experiment.to_json()):
      pass
  params_key, variables_key = jax.random.split(setup.key)
  warm = setup.experiment.warm_start
  if warm is None:
    params = model.init(params_key, mesh)
  else:
    space, trust = setup.prepared.space, setup.experiment.trust
    params = warm_start.params(warm, model, space, params_key, mesh, say, trust)
  variables = state.variables(objective, model, params, variables_key, mesh)
  return state.create(params, variables, setup.learners), None


def _at_checkpoint(setup: _Setup, restored: checkpoint.Meta) -> _Setup:
  """Returns the setup whose batches continue after those of a checkpoint."""
  saved = restored.position.get("schedule")
  if saved is None:  # from before schedules: its settings never changed
    experiment = experiments.from_json(restored.experiment, setup.experiment.trust)
    schedule = loader.Loader(setup.prepared, experiment).schedule
  else:
    schedule = schedules.from_json(saved)
  return dataclasses.replace(setup, loader=setup.loader.resumed(schedule, restored.step))


def _train(
  setup: _Setup, train_state: state.TrainState, monitors: _Monitors, stop: guard.StopRequest
) -> state.TrainState:
  """Returns the state after the last step, which is saved. Raises Requeue if `stop` asks for it."""
  experiment, timer = setup.experiment, setup.timer
  recorder, saver = monitors.recorder, monitors.saving
  exchange = together.Exchange(setup.mesh, len(setup.loader.tasks), experiment.data.length)
  compiled = None
  begun = int(train_state.step)
  with contextlib.closing(_batches(setup, begun, experiment.steps)) as batches:
    for number in range(begun + 1, experiment.steps + 1):
      with timer.spend("data wait"):
        batch, counts = next(batches)
      if compiled is None:
        with timer.spend("compile"):
          compiled = _compiled(setup, train_state, batch)
      last = number == experiment.steps
      with timer.spend("step" if number > monitors.journal.had_step else "lost work"):
        train_state, step_metrics = compiled(number, train_state, batch)
        recorder.add(number, step_metrics, exchange.begin(counts, stop.asked_by))
        asked_by = exchange.asked_by
        stopping = bool(asked_by)
        saving_now = saver.is_due(number, stopping)
        if saving_now:
          recorder.flush()
      # A skipped step does not change the state, but only a good step shows that the state is good.
      if saving_now and (recorder.streak == 0 or (last and recorder.any_finite)):
        saver.save(train_state, _meta(setup, number, recorder), stopping=stopping)
        if stopping:
          raise Requeue(
            f"Stopped by {asked_by} after step {number} of {experiment.steps}; everything is "
            f"saved in {setup.workdir}. Run the same command again: it resumes from there."
          )
      if not last and number % experiment.evaluation.every_steps == 0:
        with timer.spend("step"):
          recorder.flush()
        monitors.measure(train_state)
  guard.check_saved(saver.due, experiment.steps)
  return train_state


def _compiled(
  setup: _Setup, train_state: state.TrainState, batch: Batch
) -> Callable[[int, state.TrainState, Batch], tuple[state.TrainState, dict[str, ArrayTree]]]:
  """Returns step(number, state, batch), which computes the steps to be rechecked twice."""
  experiment = setup.experiment
  train_step = step.build(
    setup.model,
    experiment.objective,
    setup.learners,
    setup.machine,
    setup.accumulation,
    experiment.optimizer.spike,
  )
  compiled = train_step.lower(train_state, batch, setup.key).compile()
  together.gathered(None)  # no process waits in a collective while another compiles

  def run_step(number, train_state, batch):
    if setup.recheck_every and number % setup.recheck_every == 0:
      return guard.computed_twice(compiled, train_state, batch, setup.key, number)
    return compiled(train_state, batch, setup.key)

  return run_step


def _batches(setup: _Setup, first: int, end: int) -> Iterator[tuple[Batch, Counts]]:
  """Yields the batches of steps `first` to `end` - 1, placed on the mesh, with the counts of this
  process's rows; a thread makes each batch one step ahead."""
  source, mesh, rows = setup.loader, setup.mesh, setup.experiment.data.batch_rows
  counted = sharding.counted_here(mesh, rows)

  def make(number):
    batch = source.batch_at(number)
    counts = batch.count(len(source.tasks), counted, source.first_row)
    return sharding.place(batch, mesh, batch.axes(), rows), counts

  pool = futures.ThreadPoolExecutor(1, thread_name_prefix="batches")
  try:
    following = pool.submit(make, first) if first < end else None
    for number in range(first, end):
      current = following.result()
      following = pool.submit(make, number + 1) if number + 1 < end else None
      yield current
  finally:
    pool.shutdown(wait=True, cancel_futures=True)


def _recorder(
  setup: _Setup, journal: metrics.Journal, restored: checkpoint.Meta | None
) -> record.Recorder:
  experiment, devices = setup.experiment, setup.mesh.devices
  names = [task.name for task in setup.loader.tasks]
  epoch_rows = dict(zip(names, setup.loader.feed.rows, strict=True))
  seen = record.Seen(epoch_rows, restored and restored.position["seen"])
  flops = functools.partial(experiment.model.flops_per_token, setup.prepared.space)
  kind = devices.flat[0].device_kind
  utilization = functools.partial(machines.utilization, device_kind=kind, devices=devices.size)
  rate = functools.partial(optimizers.learning_rate, experiment.optimizer, experiment.steps)
  rates = functools.cache(flops), utilization, rate
  return record.Recorder(journal, setup.display, setup.timer, seen, *rates)


def _meta(setup: _Setup, number: int, recorder: record.Recorder) -> checkpoint.Meta:
  return checkpoint.Meta(
    step=number,
    experiment=setup.experiment.to_json(),
    manifest=setup.prepared.manifest,
    position={
      "step": number,
      "seen": recorder.seen.by_task(),
      "schedule": schedules.to_json(setup.loader.schedule),
    },
    versions=checkpoint.versions(),
    products=setup.machine.products,
  )


def _print_header(setup: _Setup, restored: checkpoint.Meta | None) -> None:
  """Prints the experiment and the machine, and when resuming what changed since the checkpoint."""
  say = setup.display.say
  experiment, machine, devices = setup.experiment, setup.machine, setup.mesh.devices
  axes = ", ".join(f"{axis}={size}" for axis, size in setup.mesh.shape.items())
  processes = f" of {jax.process_count()} processes" if jax.process_count() > 1 else ""
  dtypes = machine.compute_dtype
  if machine.products != dtypes:
    dtypes += f" with products in {machine.products}"
  say(
    f"machine {machine.name}: {devices.size} x {devices.flat[0].device_kind}{processes}, "
    f"mesh {axes}, {dtypes}, {machine.attention} attention, remat {machine.remat}, "
    f"{setup.accumulation} micro-batches per step"
  )
  parameters = experiment.model.parameters(setup.prepared.space)
  say(
    f"experiment {experiment.name}: {parameters:,} parameters, {len(experiment.tasks)} tasks, "
    f"{experiment.data.batch_rows} batch rows of {experiment.data.length} per step, "
    f"{experiment.steps} steps"
  )
  if restored is None:
    return
  say(f"resuming after step {restored.step} of {setup.workdir}")
  earlier = experiments.from_json(restored.experiment, experiment.trust)
  changed = token_space.difference(_settings(earlier.to_json()), _settings(experiment.to_json()))
  if restored.products not in (None, machine.products):
    say(f"changed since that checkpoint: products {restored.products} -> {machine.products}")
  for line in changed.splitlines():
    say(f"changed since that checkpoint: {line}")


def _settings(experiment: str) -> dict[str, Any]:
  """Returns the settings of an experiment, with the tasks of the mixture by name so that a changed
  rate is one line of the difference."""
  settings = json.loads(experiment)
  tasks = settings["mixture"]["tasks"]
  settings["mixture"]["tasks"] = {task["name"]: {**task, "rate": rate} for task, rate in tasks}
  return settings


def _summary(
  setup: _Setup, monitors: _Monitors, number: int, losses: dict[str, dict[str, float]]
) -> progress.Summary:
  recorder = monitors.recorder
  tokens_per_s, mfu = recorder.speed()
  return progress.Summary(
    name=setup.experiment.name,
    workdir=setup.workdir,
    step=number,
    parameters=setup.experiment.model.parameters(setup.prepared.space),
    held_out=losses,
    seen=recorder.seen.by_task(),
    seconds=dict(setup.timer.seconds),
    tokens_per_s=tokens_per_s,
    mfu=mfu,
    skipped=recorder.skipped,
    best=monitors.saving.best,
    answers=setup.experiment.data.answers,
    trust=setup.experiment.trust,
  )

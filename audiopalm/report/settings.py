"""The settings in which runs differ, from their configs as JSON."""

from collections.abc import Iterator, Mapping, Sequence

ABSENT = object()  # the run has no such setting

TASKS = "mixture.tasks"


def differences(configs: Sequence[Mapping[str, object]]) -> list[tuple[str, tuple[object, ...]]]:
  """Returns (path, value of each run or ABSENT) for every setting in which configs differ.

  Tasks go by name: `mixture.tasks.asr` is the rate. Of a task that only some runs have,
  only the rate is listed. A setting that differs alike in several tasks is one line, as the
  corpus mostly is: `mixture.tasks.{asr, tts}.corpus.train_records`.
  """
  flat = [dict(_flat(config)) for config in configs]
  names = [{path.split(".")[2] for path in paths if path.startswith(f"{TASKS}.")} for paths in flat]
  shared = set.intersection(*names)
  # By path, without the task where it is one of a task, and values: the values and tasks.
  differing: dict[tuple[str, str], tuple[tuple[object, ...], list[str]]] = {}
  for path in dict.fromkeys(path for config in flat for path in config):
    values = tuple(config.get(path, ABSENT) for config in flat)
    if all(value == values[0] for value in values):
      continue
    tasks = []
    if path.startswith(f"{TASKS}."):
      task, dot, rest = path.removeprefix(f"{TASKS}.").partition(".")
      if dot and task not in shared:
        continue
      path, tasks = f"{TASKS}.{{}}{dot}{rest}", [task]
    differing.setdefault((path, repr(values)), (values, []))[1].extend(tasks)
  return [
    (path.replace("{}", tasks[0] if len(tasks) == 1 else f"{{{', '.join(tasks)}}}"), values)
    for (path, _), (values, tasks) in differing.items()
  ]


def _flat(value: object, path: str = "") -> Iterator[tuple[str, object]]:
  """Yields (dotted path, leaf); what has a name or a stream goes by it, else by its number."""
  if isinstance(value, Mapping):
    children = list(value.items())
  elif isinstance(value, list) and path == TASKS:
    for task, rate in value:
      yield f"{path}.{task['name']}", rate
      settings = {key: child for key, child in task.items() if key != "name"}
      yield from _flat(settings, f"{path}.{task['name']}")
    return
  elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
    children = []
    for number, item in enumerate(value):
      named = item if isinstance(item, Mapping) else {}
      children.append((named.get("name", named.get("stream", str(number))), item))
  else:
    yield path, value
    return
  for key, child in children:
    yield from _flat(child, f"{path}.{key}" if path else key)

"""The settings in which the JSON configs of runs differ."""

from collections.abc import Iterator, Mapping, Sequence

ABSENT = object()  # the run has no such setting

TASKS = "mixture.tasks"


def differences(configs: Sequence[Mapping[str, object]]) -> list[tuple[str, tuple[object, ...]]]:
  """Returns (path, value of each run or ABSENT) for every setting in which configs differ.

  Tasks are named: `mixture.tasks.asr` is the rate. If only some runs have a task, only its rate is
  listed. If several tasks differ in a setting by the same values, as often for the corpus, they
  share a line: `mixture.tasks.{asr, tts}.corpus.train_records`.
  """
  flat = [dict(_flat(config)) for config in configs]
  names = [{path.split(".")[2] for path in paths if path.startswith(f"{TASKS}.")} for paths in flat]
  shared = set.intersection(*names)
  # {(path with {} for the task, repr of the values): (values, tasks)}
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
  """Yields (dotted path, leaf). Items of a list go by their name or stream, else by their index."""
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

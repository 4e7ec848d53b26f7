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
  differing: dict[tuple[str, str, tuple], list[str]] = {}
  for path in dict.fromkeys(path for config in flat for path in config):
    values = tuple(config.get(path, ABSENT) for config in flat)
    if all(value == values[0] for value in values):
      continue
    if not path.startswith(f"{TASKS}."):
      differing[path, "", _key(values)] = [values]
      continue
    task, _, rest = path.removeprefix(f"{TASKS}.").partition(".")
    if task in shared or not rest:
      differing.setdefault((TASKS, rest, _key(values)), [values]).append(task)
  return [
    (_path(head, rest, tasks), values) for (head, rest, _), (values, *tasks) in differing.items()
  ]


def _flat(value: object, path: str = "") -> Iterator[tuple[str, object]]:
  """Yields (dotted path, leaf); what has a name or a stream goes by it, else by its number."""
  if isinstance(value, Mapping):
    children = [(key, child) for key, child in value.items()]
  elif isinstance(value, list) and path == TASKS:
    children = [(task["name"], pair) for pair in value for task in (pair[0],)]
    for name, (task, rate) in children:
      yield f"{path}.{name}", rate
      yield from _flat({k: v for k, v in task.items() if k != "name"}, f"{path}.{name}")
    return
  elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
    children = [(_address(item, number), item) for number, item in enumerate(value)]
  else:
    yield path, value
    return
  for key, child in children:
    yield from _flat(child, f"{path}.{key}" if path else key)


def _address(item: object, number: int) -> str:
  named = item if isinstance(item, Mapping) else {}
  return next((named[key] for key in ("name", "stream") if key in named), str(number))


def _key(values: tuple[object, ...]) -> tuple:
  return tuple(map(repr, values))


def _path(head: str, rest: str, tasks: Sequence[str]) -> str:
  if not tasks:
    return head
  named = tasks[0] if len(tasks) == 1 else f"{{{', '.join(tasks)}}}"
  return f"{head}.{named}" + (f".{rest}" if rest else "")

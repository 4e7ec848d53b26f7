"""In which settings runs differ, from their configs as JSON."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

ABSENT = object()  # the run has no such setting

TASKS = "mixture.tasks"


def differences(configs: Sequence[Mapping[str, Any]]) -> list[tuple[str, tuple[Any, ...]]]:
  """Returns (path, value of each run or ABSENT) for every setting in which configs differ.

  Tasks go by name: `mixture.tasks.asr` is the rate. Where some runs have a task and some not, the
  rate is all that is said of it. A setting that differs alike in several tasks is one line, as the
  corpus mostly is: `mixture.tasks.{asr, tts}.corpus.train_records`.
  """
  flat = [dict(_flat(config)) for config in configs]
  names = [{path.split(".")[2] for path in one if path.startswith(f"{TASKS}.")} for one in flat]
  shared = set.intersection(*names)
  found: dict[tuple[str, str, tuple], list[str]] = {}
  for path in dict.fromkeys(path for one in flat for path in one):
    values = tuple(one.get(path, ABSENT) for one in flat)
    if all(value == values[0] for value in values):
      continue
    if not path.startswith(f"{TASKS}."):
      found[path, "", _key(values)] = [values]
      continue
    task, _, rest = path.removeprefix(f"{TASKS}.").partition(".")
    if task in shared or not rest:
      found.setdefault((TASKS, rest, _key(values)), [values]).append(task)
  return [(_path(head, rest, tasks), values) for (head, rest, _), (values, *tasks) in found.items()]


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
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


def _address(item: Any, number: int) -> str:
  named = item if isinstance(item, Mapping) else {}
  return next((named[key] for key in ("name", "stream") if key in named), str(number))


def _key(values: tuple[Any, ...]) -> tuple:
  return tuple(map(repr, values))


def _path(head: str, rest: str, tasks: Sequence[str]) -> str:
  if not tasks:
    return head
  named = tasks[0] if len(tasks) == 1 else f"{{{', '.join(tasks)}}}"
  return f"{head}.{named}" + (f".{rest}" if rest else "")

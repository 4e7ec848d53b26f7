"""The languages of a request, and which of them a user must give."""

from audiopalm import language_tags
from audiopalm.errors import ConfigError
from audiopalm.types import Task


def candidates(
  task: Task, *, language: str | None = None, source: str | None = None, target: str | None = None
) -> tuple[dict[str, str], ...]:
  """Returns the candidates of languages by role: one, or several to choose from.

  A task of one language takes `language`; a task from one language to another takes `source` and
  `target`. If a language is left out, all are tried; a target must be given if the source allows
  several. Any tag of a language is accepted (`language_tags`). ConfigError otherwise, naming the
  known languages.
  """
  pairs = task.corpus.pairs(task.roles)
  first, last = task.from_to
  translates = any(pair[first] != pair[last] for pair in pairs)
  wrong = {"language": language} if translates else {"source": source, "target": target}
  for option, tag in wrong.items():
    if tag is not None:
      right = "source and target" if translates else "language"
      raise ConfigError(f"Task {task.name!r} takes {right}: give {right}, not {option}={tag!r}.")
  codes = {first: source, last: target} if translates else {first: language}
  codes = {
    role: tag and language_tags.canonical(tag) for role, tag in codes.items() if tag is not None
  }
  for role, code in codes.items():
    known = sorted({pair[role] for pair in pairs})
    if code not in known:
      raise ConfigError(
        f"Unknown language {code!r} for task {task.name!r}. Known languages: {', '.join(known)}."
      )
  left = tuple(pair for pair in pairs if codes.items() <= pair.items())
  if not left:
    raise ConfigError(
      f"Task {task.name!r} does not go from {source!r} to {target!r}. Known pairs: "
      f"{', '.join(sorted(f'{pair[first]}-{pair[last]}' for pair in pairs))}."
    )
  targets = sorted({pair[last] for pair in left})
  if translates and len({pair[first] for pair in left}) < len(left):
    raise ConfigError(
      f"Task {task.name!r} needs a target language here: one of {', '.join(targets)}. "
      "The source language can be found from the input, the target cannot."
    )
  return left

"""The fields of a Hugging Face folder's JSON files, read with errors that name field and value."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from audiopalm.errors import ConfigError

CONFIG = "config.json"
Json = Any  # a value of a JSON file
Config = Mapping[str, Json]


def read(path: Path, expected: str) -> Config:
  """Returns the object in a JSON file; ConfigError if there is none."""
  if not path.is_file():
    raise ConfigError(f"{path.parent} has no {path.name}. Expected {expected}.")
  try:
    config = json.loads(path.read_text(encoding="utf-8"))
  except (json.JSONDecodeError, UnicodeDecodeError) as error:
    raise ConfigError(f"{path} is not valid JSON ({error}). Copy the folder again.") from error
  if not isinstance(config, Mapping):
    raise ConfigError(f"{path} holds {type(config).__name__}, expected an object of settings.")
  return config


class JsonFields:
  """The fields of an object at `where`, which describes a model of type `kind`."""

  def __init__(self, values: Config, kind: str, where: Path | str):
    self._values, self._kind, self._where = values, kind, where

  def get(self, name: str) -> Json:
    return self._values.get(name)

  def must_be(self, name: str, value: Json) -> None:
    """Raises ConfigError if a field is present with another value."""
    if self.get(name) not in (None, value):
      raise self.wrong(name, self.get(name), json.dumps(value))

  def boolean(self, name: str, missing: bool | None = None) -> bool:
    """Returns a boolean; `missing`, if given, for a missing field."""
    value = self._values.get(name, missing)
    if not isinstance(value, bool):
      raise self.wrong(name, value, "true or false")
    return value

  def one_of(self, name: str, known: Mapping[str, Any]) -> Any:
    """Returns the meaning of a field's value."""
    value = self.get(name)
    if not isinstance(value, str) or value not in known:
      raise self.wrong(name, value, " or ".join(known))
    return known[value]

  def whole(self, name: str, **null: int) -> int:
    """Returns an integer above 0; `null`, if given, for a null."""
    return self.checked(name, self._required(name), "an integer above 0", int, **null)

  def wholes(self, name: str) -> tuple[int, ...]:
    """Returns a list of integers above 0."""
    values, expected = self._required(name), "a list of integers above 0"
    if not isinstance(values, list | tuple) or not values:
      raise self.wrong(name, values, expected)
    return tuple(self.checked(name, value, expected, int) for value in values)

  def number(self, name: str, **null: None) -> float:
    """Returns a number above 0; `null`, if given, for a null."""
    return self.checked(name, self._required(name), "a number above 0", **null)

  def checked(
    self,
    name: str,
    value: Json,
    expected: str = "a number above 0",
    kind: type = float,
    **null: Json,
  ) -> Json:
    if value is None and null:
      return null["null"]
    kinds = int if kind is int else int | float
    # json also parses NaN and Infinity.
    if not isinstance(value, kinds) or isinstance(value, bool) or not 0 < value < math.inf:
      raise self.wrong(name, value, expected)
    return kind(value)

  def _required(self, name: str) -> Json:
    if name not in self._values:
      raise ConfigError(
        f"{self._where} has no {name}, without which a {self._kind} cannot be read. "
        "Copy the folder again, or save the model again with transformers."
      )
    return self._values[name]

  def wrong(self, name: str, value: Json, expected: str) -> ConfigError:
    return ConfigError(
      f"{self._where}: {name} is {json.dumps(value)}, expected {expected}; nothing else is "
      f"computed here for a {self._kind}. Start from another model."
    )

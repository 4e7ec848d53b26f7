"""Synthesizers beside those that go by name: voices of Piper's, and programs of the user's."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from audiopalm import language_tags
from audiopalm.data import synthesizers
from audiopalm.errors import ConfigError

VoicesByLanguage = Mapping[str, Sequence[str]]


def piper(
  folder: str, train: VoicesByLanguage, held_out: VoicesByLanguage | None = None
) -> synthesizers.Piper:
  """Returns Piper with voices that lie in a folder, VOICE.onnx and VOICE.onnx.json.

  Of each language the canonical voice comes first; of a model with several speakers
  "en_US-vctk-medium#7" is speaker 7. ConfigError for a folder without one of the voices.

      synthesizers.piper("voices", train={"en": ("en_US-amy-medium", "en_US-joe-medium")})
  """
  listed, held = _listed(train), _listed(held_out or {})
  digest = hashlib.sha256()
  voices = [voice for _, names in (*listed, *held) for voice in names]
  for model in dict.fromkeys(voice.partition("#")[0] for voice in voices):
    for name in (f"{model}.onnx", f"{model}.onnx.json"):
      path = Path(folder) / name
      if not path.is_file():
        names = sorted(voice.name for voice in Path(folder).glob("*.onnx"))
        raise ConfigError(
          f"Synthesizer 'piper': {folder} lacks {name}: it has {', '.join(names) or 'no voice'}. "
          "Copy the voice's two files there, or name another."
        )
      digest.update(f"{name} {path.stat().st_size}\n".encode())
      with path.open("rb") as file:
        digest.update(hashlib.file_digest(file, "sha256").digest())
  return synthesizers.Piper(
    folder=folder, digest=digest.hexdigest()[:16], train=listed, held_out=held
  )


def program(
  line: str,
  train: VoicesByLanguage,
  held_out: VoicesByLanguage | None = None,
  revision: str = "",
) -> synthesizers.Program:
  """Returns a program that speaks: a command line in which {text}, {voice} and {language} stand for
  what changes. It prints a WAV, or writes one to the path that {wav} stands for.

      synthesizers.program("say.sh {voice} {text}", train={"en": ("amy", "joe")})
  """
  return synthesizers.Program(
    line=line, train=_listed(train), held_out=_listed(held_out or {}), revision=revision
  )


def _listed(voices: VoicesByLanguage) -> synthesizers.Voices:
  return tuple((language_tags.code(tag), tuple(names)) for tag, names in voices.items())

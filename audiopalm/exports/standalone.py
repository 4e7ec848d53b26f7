"""Copies the files that run the speech tokenizers of an exported folder without audiopalm.

They become the package PACKAGE, with their imports renamed, so that there is one implementation.
A test checks that their top-level imports are numpy, scipy, safetensors and each other only.
"""

import re
import shutil
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "audiopalm_speech"
FRONT = "exports/speech_tokenizer.py"  # the module that users import
SILENCE = "audio/silence.py"  # users import it too, to prepare recordings as `generate` does
# {path in PACKAGE: path in audiopalm}, the same for all but the last.
FILES = {
  name: name
  for name in (
    "errors.py", "types.py", "language_tags.py", "orthography.py", SILENCE, "audio/f0.py",
    "audio/spectrum.py", "audio/vocoder.py", "tokenizers/base.py", "tokenizers/kmeans.py",
    "tokenizers/mel_rvq.py",
    "tokenizers/mfcc.py", "tokenizers/units.py", "tokenizers/voices.py", "exports/speech.py",
  )
} | {"audio/waveform.py": "exports/plain_waveform.py"}  # fmt: skip


def write(folder: Path, names: Iterable[str]) -> None:
  """Writes NAME.py for each name, silence.py, and the package that they import."""
  for name in names:
    _copy(FRONT, folder / f"{name}.py")
  shutil.copyfile(ROOT / SILENCE, folder / Path(SILENCE).name)
  for place, source in FILES.items():
    _copy(source, folder / PACKAGE / place)


def _copy(source: str, to: Path) -> None:
  text = (ROOT / source).read_text(encoding="utf-8")
  to.parent.mkdir(parents=True, exist_ok=True)
  renamed = re.sub(r"^(\s*from) audiopalm\b", rf"\1 {PACKAGE}", text, flags=re.MULTILINE)
  to.write_text(renamed, encoding="utf-8")

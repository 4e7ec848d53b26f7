"""Runs a program in a process that can import neither JAX nor audiopalm, nor what reads sound.

python without_jax.py PROGRAM ARGUMENTS...
"""

import runpy
import sys
from pathlib import Path

ABSENT = (
  "audiopalm", "flax", "grain", "jax", "jaxlib", "orbax", "sentencepiece", "soundfile", "soxr",
)  # fmt: skip
for name in ABSENT:
  sys.modules[name] = None  # an import of it now fails
sys.argv = sys.argv[1:]
sys.path[0] = str(Path(sys.argv[0]).parent)  # as for any program that is run
runpy.run_path(sys.argv[0], run_name="__main__")

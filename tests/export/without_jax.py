"""Runs a program in a process that can import neither JAX nor audiopalm.

python without_jax.py PROGRAM ARGUMENTS...
"""

import runpy
import sys

for name in ("audiopalm", "flax", "grain", "jax", "jaxlib", "orbax", "sentencepiece"):
  sys.modules[name] = None  # an import of it now fails
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")

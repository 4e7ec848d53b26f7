"""The corpora in a checkout: their modules lie in data_pipelines/ at its root.

An installed package has them here instead of this file (`package_dir` in setup.py).
"""

from pathlib import Path

__path__ = [str(Path(__file__).parents[2] / "data_pipelines")]

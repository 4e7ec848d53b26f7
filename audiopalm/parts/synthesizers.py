"""Synthesizers for configs, besides those known by name: Piper's voices, and user programs."""

from audiopalm.data.synthesizers import Piper as piper
from audiopalm.data.synthesizers import Program as program

__all__ = ["piper", "program"]

"""Synthesizers beside those that go by name: voices of Piper's, and programs of the user's."""

from audiopalm.data.synthesizers import Piper as piper
from audiopalm.data.synthesizers import Program as program

__all__ = ["piper", "program"]

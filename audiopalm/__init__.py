"""Speech-text language models in JAX: `audiopalm.load(workdir).generate(...)`."""

from audiopalm.version import VERSION as __version__

__all__ = ["__version__", "load"]


def __getattr__(name: str):
  # Lazy: importing one module of the package must not bring in all of JAX.
  if name == "load":
    from audiopalm.session import load

    return load
  raise AttributeError(f"module 'audiopalm' has no attribute {name!r}")

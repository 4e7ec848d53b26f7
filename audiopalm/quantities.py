"""Quantities as text: bytes and seconds in a suitable unit."""


def size(count: float) -> str:
  """Returns bytes in memory or files: 5_300 is "5.2 KiB", 3e9 is "2.8 GiB"."""
  return _in_units(count, 1024, ("KiB", "MiB", "GiB"), 1)


def traffic(count: float) -> str:
  """Returns transferred bytes, in decimal units like GB/s: 5_300 is "5.30 kB"."""
  return _in_units(count, 1000, ("kB", "MB", "GB"), 2)


def duration(seconds: float) -> str:
  """Returns seconds as text: 4.21 is "4.2 s", 75 is "1 min 15 s", 7_500 is "2 h 05 min"."""
  whole = round(seconds)
  if seconds < 10:
    return f"{seconds:.1f} s"
  if whole < 60:
    return f"{whole} s"
  if whole < 3600:
    return f"{whole // 60} min {whole % 60:02d} s"
  return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _in_units(count: float, step: int, units: tuple[str, ...], digits: int) -> str:
  for power in range(len(units), 0, -1):
    if count >= step**power:
      return f"{count / step**power:,.{digits}f} {units[power - 1]}"
  return f"{count:,.0f} B"

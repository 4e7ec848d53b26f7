"""Amounts as people read them: bytes and seconds in the unit that fits."""


def size(count: float) -> str:
  """Returns 5_300 bytes as "5.2 KiB", 3e9 as "2.8 GiB": what lies in memory or in files."""
  return _in_units(count, 1024, ("KiB", "MiB", "GiB"), 1)


def traffic(count: float) -> str:
  """Returns 5_300 bytes as "5.30 kB", 3e9 as "3.00 GB": what is moved, as rates are in GB/s."""
  return _in_units(count, 1000, ("kB", "MB", "GB"), 2)


def duration(seconds: float) -> str:
  """Returns 4.21 s as "4.2 s", 75 s as "1 min 15 s", 7,500 s as "2 h 05 min"."""
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

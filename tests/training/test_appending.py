from audiopalm.training import appending


def test_what_a_full_device_does_not_take_is_written_when_there_is_room(small_device):
  said, path = [], small_device.path / "lines"
  filler = small_device.path / "filler"
  lines = appending.Appender(path, said.append)
  lines.add(b"one\n")
  lines.flush()
  filler.write_bytes(bytes(2**21 - 8 * 4096))
  pieces = [bytes([48 + number]) * 9_999 + b"\n" for number in range(6)]
  for piece in pieces:
    lines.add(piece)
    lines.flush()
  written = path.read_bytes()
  assert written.startswith(b"one\n") and written.endswith(b"\n")  # no piece is cut in two
  assert len(written) < 60_004 and len(said) == 1 and "waits in memory" in said[0]
  filler.unlink()
  lines.close()
  assert path.read_bytes() == b"one\n" + b"".join(pieces)
  assert said[1:] == [f"There is room again: {path} is whole."]


def test_a_file_that_ends_early_is_said(small_device):
  said, path = [], small_device.path / "lines"
  (small_device.path / "filler").write_bytes(bytes(2**21 - 4096))
  lines = appending.Appender(path, said.append)
  lines.add(bytes(2**14))
  lines.close()
  assert said[1:] == [f"{path} ends early: its device is still full."]
  assert path.read_bytes() == b""

import json
import struct

import numpy as np
from tensorboardX.proto import event_pb2

from audiopalm.training import metrics


def journal(workdir, *numbers, resumed_after=0):
  made = metrics.Journal(workdir, resumed_after)
  for number in numbers:
    made.write(number, {"loss": np.float32(0.1) * number})
  made.close()
  return made


def test_lines_hold_short_numbers_and_null_for_what_is_not_finite(tmp_path):
  made = metrics.Journal(tmp_path, 0)
  values = {"loss": np.float32("nan"), "lr": np.float32(0.1), "tokens": np.int64(7)}
  made.write(1, {**values, "mfu": "unknown", "held_out": {"asr": {"loss": 1.5}}})
  made.close()
  line = (tmp_path / "metrics.jsonl").read_text()
  assert json.loads(line) == {
    "step": 1, "loss": None, "lr": 0.1, "tokens": 7, "mfu": "unknown",
    "held_out": {"asr": {"loss": 1.5}},
  }  # fmt: skip
  assert "0.1," in line


def test_resume_cuts_the_steps_it_does_again(tmp_path):
  journal(tmp_path, 1, 2, 3, 4)
  again = journal(tmp_path, 3, resumed_after=2)
  assert [line["step"] for line in metrics.read(tmp_path)] == [1, 2, 3]
  assert (again.lost_steps, again.had_step, again.last_step) == (2, 4, 3)


def test_held_out_losses_that_are_measured_again_are_cut(tmp_path):
  journal(tmp_path, 1, 2)
  made = metrics.Journal(tmp_path, 2)
  made.write(2, {"held_out": {"asr": {"loss": 1.5}}})
  made.close()
  metrics.Journal(tmp_path, 2).close()
  assert len(list(metrics.read(tmp_path))) == 3
  metrics.Journal(tmp_path, 2, measured=False).close()
  assert [line["step"] for line in metrics.read(tmp_path)] == [1, 2]


def test_line_cut_short_by_a_crash_is_left_out(tmp_path):
  journal(tmp_path, 1, 2)
  path = tmp_path / "metrics.jsonl"
  path.write_text(path.read_text() + '{"step": 3, "lo')
  assert [line["step"] for line in metrics.read(tmp_path)] == [1, 2]
  journal(tmp_path, 3, resumed_after=2)
  assert [line["step"] for line in metrics.read(tmp_path)] == [1, 2, 3]


def test_events_are_named_by_their_path_and_hide_those_that_a_resume_does_again(tmp_path):
  made = metrics.Journal(tmp_path, 3)
  made.write(4, {"loss": 2.0, "mfu": "unknown", "held_out": {"asr": {"nll_text": 1.0}}})
  made.close()
  (path,) = (tmp_path / "events").iterdir()
  events = list(read_events(path.read_bytes()))
  assert events[0].file_version == "brain.Event:2"
  assert (events[1].step, events[1].session_log.status) == (4, event_pb2.SessionLog.START)
  values = [
    (each.step, value.tag, value.simple_value) for each in events for value in each.summary.value
  ]
  assert values == [(4, "loss", 2.0), (4, "held_out/asr/nll_text", 1.0)]


def read_events(data):
  """Yields the events of a TFRecord file, after checking both sums of each."""
  while data:
    (length,) = struct.unpack("<Q", data[:8])
    head, body, tail = data[8:12], data[12 : 12 + length], data[12 + length : 16 + length]
    assert struct.unpack("<II", head + tail) == (masked(data[:8]), masked(body))
    yield event_pb2.Event.FromString(body)
    data = data[16 + length :]


def masked(data):
  """The CRC-32C of TFRecord, by its definition."""
  crc = 0xFFFFFFFF
  for byte in data:
    crc ^= byte
    for _ in range(8):
      crc = (crc >> 1) ^ (0x82F63B78 * (crc & 1))
  crc ^= 0xFFFFFFFF
  return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def test_what_a_full_device_does_not_take_is_written_when_there_is_room(small_device):
  said, path = [], small_device.path / "lines"
  filler = small_device.path / "filler"
  lines = metrics.Appender(path, said.append)
  lines.add(b"one\n")
  lines.flush()
  filler.write_bytes(bytes(2**21 - 8 * 4096))
  pieces = [bytes([48 + number]) * 9_999 + b"\n" for number in range(6)]
  for piece in pieces:
    lines.add(piece)
    lines.flush()
  written = path.read_bytes()
  assert written.startswith(b"one\n") and written.endswith(b"\n")  # no piece is cut in two
  assert len(written) < 60_004 and len(said) == 1 and "kept in memory" in said[0]
  filler.unlink()
  lines.close()
  assert path.read_bytes() == b"one\n" + b"".join(pieces)
  assert said[1:] == [f"There is room again: {path} is complete."]


def test_a_file_that_ends_early_is_said(small_device):
  said, path = [], small_device.path / "lines"
  (small_device.path / "filler").write_bytes(bytes(2**21 - 4096))
  lines = metrics.Appender(path, said.append)
  lines.add(bytes(2**14))
  lines.close()
  assert said[1:] == [f"{path} ends early: its device is still full."]
  assert path.read_bytes() == b""

from audiopalm.data import summary


def test_a_task_without_speech_has_no_speed(prepared, capsys):
  found = summary.summarize(prepared, [], {})
  assert {task["real_time_factor"] for task in found["tasks"].values()} == {None}
  summary.show(found)
  line = next(line for line in capsys.readouterr().out.splitlines() if "continuation" in line)
  assert line.split()[-1] == "-"

from audiopalm.data import quarantine


def test_faults_are_counted_by_kind_without_names_and_numbers():
  faults = [
    {"id": f"a/{n}", "reason": f"a/{n} (source): {n}00 of 9000 samples are NaN or infinite, expec"}
    for n in (1, 2)
  ]
  faults.append({"id": "a/3", "reason": "a/3 (target): silent: its largest sample is 0, expected"})
  found = quarantine.kinds(faults)
  assert {kind: one["records"] for kind, one in found.items()} == {
    "N of N samples are NaN or infinite": 2, "silent": 1,
  }  # fmt: skip
  assert found["silent"]["first"] == faults[2]["reason"]

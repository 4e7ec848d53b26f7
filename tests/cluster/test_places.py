import dataclasses

import pytest

from audiopalm.cluster import places
from audiopalm.errors import ConfigError

GKE = {"nodes": 4, "accelerator": "tpu-v6e-slice", "image": "i", "claim": "c"}
SKYPILOT = {"nodes": 2, "accelerator": "H100:8", "bucket": "gs://b", "package": "p"}
TPU_VM = {"runtime": "r", "zone": "z", "project": "p", "accelerator": "v6e-8", "package": "p"}


@pytest.mark.parametrize(
  ("place", "given", "text"),
  [
    (
      places.LocalProcesses,
      {"num_processes": 0},
      "--num-processes takes an integer of at least 1",
    ),
    (
      places.LocalProcesses,
      {"num_processes": 2, "devices_per_process": 4, "gpus_per_process": 1},
      "makes CPU devices and --gpus-per-process assigns GPUs: give one of them.",
    ),
    (places.Slurm, {"nodes": 0}, "--nodes takes an integer of at least 1, not 0."),
    (places.Slurm, {"nodes": -2}, "--nodes takes an integer of at least 1, not -2."),
    (places.Slurm, {"nodes": 1, "gpus_per_node": -1}, "--gpus-per-node takes an integer of at"),
    (places.Slurm, {"nodes": 1, "restarts": -1}, "--restarts takes an integer of at least 0"),
    (places.Slurm, {"nodes": 1, "warn_s": 70_000}, "--warn-s takes at most 65535 seconds"),
    (places.Slurm, {"nodes": 1, "per": "gpu"}, "give their number, --gpus-per-node."),
    (places.Slurm, {"nodes": 1, "sbatch": ("-p x",)}, "as in --sbatch=--mem=0, not '-p x'."),
    (places.Slurm, {"nodes": 1, "time": "1 day"}, "as in 1-12:00:00, not '1 day'."),
    (
      places.Slurm,
      {"nodes": 1, "time": "10:59"},
      "--time 10:59 leaves less than 300 s of training: SLURM asks for a save --warn-s 300 s",
    ),
    (places.Gke, GKE, "give either --topology (4x4, ...) for TPUs or --gpus-per-node for GPUs"),
    (places.Gke, {**GKE, "topology": "4x4", "gpus_per_node": 8}, "give either"),
    (places.Gke, {**GKE, "topology": "16"}, "takes a shape such as 4x4 or 2x2x4, not '16'."),
    (
      places.Gke,
      {**GKE, "topology": "2x4"},
      "--topology 2x4 has 8 chips, but 4 nodes of 4 have 16: change --nodes or --chips-per-node.",
    ),
    (
      places.SkyPilot,
      {**SKYPILOT, "bucket": "mine"},
      "--bucket takes gs://NAME, not 'mine'. A run renames folders and appends to files",
    ),
    (places.TpuVm, {**TPU_VM, "bucket": "s3://b"}, "--bucket takes gs://NAME, not 's3://b'."),
    (places.TpuVm, {**TPU_VM, "bucket": "gs://"}, "--bucket takes gs://NAME, not 'gs://'."),
  ],
)
def test_an_error_about_a_setting_says_what_to_give(place, given, text):
  with pytest.raises(ConfigError) as error:
    place(**given)
  assert text in str(error.value)


@pytest.mark.parametrize(
  ("time", "seconds"),
  [
    ("30", 1_800),
    ("11:00", 660),
    ("1:02:03", 3_723),
    ("2-3", 183_600),
    ("2-3:04", 183_840),
    ("2-3:04:05", 183_845),
  ],
)
def test_a_time_limit_has_the_format_of_slurm(time, seconds):
  longest = seconds - places.SLURM_EARLY_S - places.MIN_TRAINING_S
  if longest < 2**16:
    places.Slurm(nodes=1, time=time, warn_s=longest)
    with pytest.raises(ConfigError, match="leaves less than"):
      places.Slurm(nodes=1, time=time, warn_s=longest + 1)
  assert places._seconds(time) == seconds


def test_an_option_of_several_places_is_the_same_in_all_and_has_a_help():
  seen = {}
  for place in places.PLACES.values():
    for field in dataclasses.fields(place):
      known = seen.setdefault(field.name, field)
      assert (field.type, field.default) == (known.type, known.default)
  assert set(places.NAMES) == set(seen)

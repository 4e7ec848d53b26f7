"""Training on two nodes of a SLURM cluster on this machine; requeues do not change the curve.

Needs Debian's slurm-wlm and munge, and root.
"""

import re
import shutil

import pytest

from audiopalm import runs

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def cluster(slurm, tmp_path_factory):
  if why := slurm.missing():
    pytest.skip(why)
  with slurm.Cluster(tmp_path_factory.mktemp("slurm") / "cluster") as cluster:
    yield cluster


class SlurmJob:
  """A submitted job that trains on both nodes."""

  def __init__(self, cluster, small, prepared, folder):
    self.cluster, self.small, self.workdir = cluster, small, folder / "it's a" / "run"
    shutil.copytree(prepared / "run", self.workdir)
    command = ("launch", "--on", "slurm", "--nodes", 2, "--")
    output = small.ended(
      small.start(prepared, *command, *small.train(self.workdir), SLURM_CONF=str(cluster.conf))
    )
    self.number = re.search(r"^Submitted batch job (\d+)$", output, re.MULTILINE)[1]

  def log(self):
    return (self.workdir / "logs" / f"{self.number}.log").read_text()

  def field(self, name):
    return self.cluster.job(self.number)[name]

  def update(self, **values):
    fields = (f"{name}={value}" for name, value in values.items())
    self.cluster("scontrol", "update", f"JobId={self.number}", *fields)

  def trains_past(self, step):
    def past():
      assert self.field("JobState") in ("PENDING", "RUNNING"), self.log()
      return max(self.small.steps(self.workdir), default=0) > step

    self.cluster.until(past, 180, f"step {step} is done")

  def wait_for_requeue(self, meanwhile=lambda: None):
    """Returns when the job is pending for the second time."""

    def waits():
      meanwhile()
      return (self.field("Restarts"), self.field("JobState")) == ("1", "PENDING")

    self.cluster.until(waits, 150, "the job is requeued")

  def restart(self):
    """Returns when SLURM has started the job again, without its delay of two minutes."""
    self.cluster.until(lambda: self.cluster.states() == {"IDLE"}, 60, "both nodes are idle")
    # SLURM confuses a job that starts in the second in which it ended with the ended one.
    self.update(TimeLimit="UNLIMITED", StartTime="now+3")
    self.cluster.until(lambda: self.field("JobState") == "RUNNING", 60, "the job has started")

  def ended(self):
    return self.field("JobState") not in ("PENDING", "RUNNING", "COMPLETING")

  def wait_for_end(self):
    self.cluster.until(self.ended, 300, "the job has ended")
    assert self.field("JobState") == "COMPLETED", self.log()


@pytest.fixture
def job(cluster, small, prepared, tmp_path):
  job = SlurmJob(cluster, small, prepared, tmp_path)
  yield job
  if not job.ended():
    cluster("scancel", job.number)
  cluster.until(lambda: not cluster("squeue", "--noheader"), 60, "no job is left")


def test_two_nodes_train_like_two_processes_outside_slurm(job, small, straight):
  job.wait_for_end()
  assert small.curve(job.workdir) == straight
  assert "0: machine gpu: 2 x cpu of 2 processes" in job.log()
  assert "resuming" not in job.log()


@pytest.mark.parametrize("by", ["scancel", "the time limit"])
def test_a_stopped_job_saves_requeues_itself_and_ends_with_the_same_curve(job, small, straight, by):
  job.trains_past(60)
  if by == "scancel":
    job.cluster("scancel", "--signal=TERM", job.number)
    job.wait_for_requeue()
  else:
    job.update(TimeLimit=4)  # minutes: less than --warn-s, 300 s
    job.wait_for_requeue(meanwhile=job.cluster.slow_down)  # SLURM checks time limits twice a minute
  saved = runs.steps(job.workdir)[-1]
  assert saved > 60
  assert f"Requeue: Stopped by SIGTERM after step {saved} of {small.STEPS}" in job.log()
  assert f"Job {job.number} was stopped by SIGTERM: it requeues itself." in job.log()
  job.restart()
  job.wait_for_end()
  assert f"resuming after step {saved}" in job.log()
  assert small.curve(job.workdir) == straight


@pytest.mark.parametrize(("node", "end"), [("n0", "killed"), ("n1", "silent")])
def test_a_job_whose_node_dies_is_requeued_and_ends_with_the_same_curve(
  job, small, straight, node, end
):
  job.trains_past(60)
  if end == "silent":
    job.cluster.freeze_node(node)
    job.wait_for_requeue()
  job.cluster.kill_node(node)
  job.wait_for_requeue()
  job.cluster.start_node(node)
  job.restart()
  job.wait_for_end()
  assert f"requeue job JobId={job.number} due to failure of node {node}" in job.cluster.log()
  assert "resuming after step 50" in job.log()
  assert small.curve(job.workdir) == straight

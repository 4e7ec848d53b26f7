"""A SLURM cluster on this machine trains over two nodes; nothing that ends a job changes its curve.

Needs Debian's slurm-wlm and munge, and root.
"""

import re
import shutil

import pytest

from audiopalm.parts import runs

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def cluster(slurm, tmp_path_factory):
  if why := slurm.missing():
    pytest.skip(why)
  with slurm.Cluster(tmp_path_factory.mktemp("slurm") / "cluster") as cluster:
    yield cluster


class Job:
  """A job that trains over both nodes, just submitted."""

  def __init__(self, cluster, small, prepared, folder):
    self.cluster, self.small, self.workdir = cluster, small, folder / "it's a" / "run"
    shutil.copytree(prepared / "run", self.workdir)
    place = ("launch", "--on", "slurm", "--nodes", 2, "--")
    said = small.ended(
      small.start(prepared, *place, *small.train(self.workdir), SLURM_CONF=str(cluster.conf))
    )
    self.number = re.search(r"^Submitted batch job (\d+)$", said, re.MULTILINE)[1]

  def log(self):
    return (self.workdir / "logs" / f"{self.number}.log").read_text()

  def shows(self, name):
    return self.cluster.job(self.number)[name]

  def update(self, **values):
    given = (f"{name}={value}" for name, value in values.items())
    self.cluster("scontrol", "update", f"JobId={self.number}", *given)

  def trains_past(self, step):
    def past():
      assert self.shows("JobState") in ("PENDING", "RUNNING"), self.log()
      return max(self.small.steps(self.workdir), default=0) > step

    self.cluster.until(past, 180, f"step {step} is done")

  def is_requeued(self, meanwhile=lambda: None):
    """Returns when the job waits to be started a second time."""

    def waits():
      meanwhile()
      return (self.shows("Restarts"), self.shows("JobState")) == ("1", "PENDING")

    self.cluster.until(waits, 150, "the job is requeued")

  def starts_again(self):
    """Returns when SLURM starts the job, which it would let wait for two minutes."""
    self.cluster.until(lambda: self.cluster.states() == {"IDLE"}, 60, "both nodes are idle")
    # A job that starts in the second in which it ended is taken for the one that ended.
    self.update(TimeLimit="UNLIMITED", StartTime="now+3")
    self.cluster.until(lambda: self.shows("JobState") == "RUNNING", 60, "the job has started")

  def ended(self):
    return self.shows("JobState") not in ("PENDING", "RUNNING", "COMPLETING")

  def ends(self):
    self.cluster.until(self.ended, 300, "the job has ended")
    assert self.shows("JobState") == "COMPLETED", self.log()


@pytest.fixture
def job(cluster, small, prepared, tmp_path):
  job = Job(cluster, small, prepared, tmp_path)
  yield job
  if not job.ended():
    cluster("scancel", job.number)
  cluster.until(lambda: not cluster("squeue", "--noheader"), 60, "no job is left")


def test_two_nodes_train_as_two_processes_outside_slurm(job, small, straight):
  job.ends()
  assert small.curve(job.workdir) == straight
  assert "0: machine gpu: 2 x cpu of 2 processes" in job.log()
  assert "resuming" not in job.log()


@pytest.mark.parametrize("by", ["scancel", "the time limit"])
def test_a_job_that_is_asked_to_stop_saves_requeues_itself_and_ends_with_the_same_curve(
  job, small, straight, by
):
  job.trains_past(60)
  if by == "scancel":
    job.cluster("scancel", "--signal=TERM", job.number)
    job.is_requeued()
  else:
    job.update(TimeLimit=4)  # minutes: less than what it asked to be warned before, 300 s
    job.is_requeued(meanwhile=job.cluster.slow_down)  # SLURM looks at the time twice a minute
  saved = runs.steps(job.workdir)[-1]
  assert saved > 60
  assert f"Requeue: Stopped by SIGTERM after step {saved} of {small.STEPS}" in job.log()
  assert f"Job {job.number} was asked to stop: it requeues itself." in job.log()
  job.starts_again()
  job.ends()
  assert f"resuming after step {saved}" in job.log()
  assert small.curve(job.workdir) == straight


@pytest.mark.parametrize(("node", "end"), [("n0", "killed"), ("n1", "silent")])
def test_a_job_whose_node_dies_is_requeued_and_ends_with_the_same_curve(
  job, small, straight, node, end
):
  job.trains_past(60)
  if end == "silent":
    job.cluster.freeze_node(node)
    job.is_requeued()
  job.cluster.kill_node(node)
  job.is_requeued()
  job.cluster.start_node(node)
  job.starts_again()
  job.ends()
  assert f"requeue job JobId={job.number} due to failure of node {node}" in job.cluster.log()
  assert "resuming after step 50" in job.log()
  assert small.curve(job.workdir) == straight

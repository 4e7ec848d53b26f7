"""A command that trains starts again with huge pages, once; its children do not inherit them."""

import os
import sys

import pytest

from audiopalm.cli import huge_pages, main


@pytest.fixture
def madvise(tmp_path):
  path = tmp_path / "enabled"
  path.write_text("always [madvise] never\n")
  return path


def test_the_tunable_is_added_to_those_of_the_user(madvise):
  assert huge_pages.changed({}, madvise)["GLIBC_TUNABLES"] == "glibc.malloc.hugetlb=1"
  own = {"GLIBC_TUNABLES": "glibc.malloc.check=3", "HOME": "/root"}
  found = huge_pages.changed(own, madvise)
  assert found["GLIBC_TUNABLES"] == "glibc.malloc.check=3:glibc.malloc.hugetlb=1"
  assert found["HOME"] == "/root"


@pytest.mark.parametrize("policy", ("[always] madvise never", "always madvise [never]"))
def test_nothing_changes_where_linux_gives_them_anyway_or_never(tmp_path, policy):
  (tmp_path / "enabled").write_text(policy)
  assert huge_pages.changed({}, tmp_path / "enabled") is None
  assert huge_pages.changed({}, tmp_path / "absent") is None


def test_the_word_of_the_user_stands(madvise):
  own = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=0"}
  assert huge_pages.changed(own, madvise) is None


@pytest.mark.parametrize("before", ("", "glibc.malloc.check=3"))
def test_the_second_start_goes_on_and_its_children_inherit_what_was(monkeypatch, madvise, before):
  monkeypatch.setattr(huge_pages, "ENABLED", madvise)
  monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
  if before:
    monkeypatch.setenv("GLIBC_TUNABLES", before)
  starts = []
  monkeypatch.setattr(os, "execve", lambda *start: starts.append(start))
  huge_pages.start()
  ((program, words, environment),) = starts
  assert program == sys.executable and words[1:] == sys.orig_argv[1:]
  for name in ("GLIBC_TUNABLES", huge_pages.STARTED):
    monkeypatch.setenv(name, environment[name])
  huge_pages.start()
  assert len(starts) == 1
  assert os.environ.get("GLIBC_TUNABLES", "") == before and huge_pages.STARTED not in os.environ


def test_only_the_command_line_of_train_starts_again(monkeypatch):
  starts = []
  monkeypatch.setattr(huge_pages, "start", lambda: starts.append(1))
  for words in (["train"], ["evaluate"]):
    monkeypatch.setattr(sys, "argv", ["audiopalm", *words])
    for arguments in (None, words):  # those of the process, and of a program that calls
      with pytest.raises(SystemExit):  # options are missing
        main.main(arguments)
  assert len(starts) == 1

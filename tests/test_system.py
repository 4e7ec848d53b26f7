"""What errors of the operating system mean, and the one text that each becomes."""

import ctypes
import errno
import os

import pytest
import tensorstore

from audiopalm import system
from audiopalm.errors import DataError


def wrapped(error):
  try:
    raise ValueError("write failed") from error
  except ValueError as outer:
    return outer


@pytest.mark.parametrize(
  "error",
  [
    OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
    OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)),
    wrapped(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))),
    RuntimeError("RESOURCE_EXHAUSTED: pwrite: No space left on device"),
    ValueError("FAILED: disk quota exceeded"),
  ],
)
def test_a_full_device_is_recognized_in_any_report_of_it(error):
  assert system.is_full(error)
  text = system.text_of(error)
  assert text.startswith("No space left on the device. What was written before is kept: free some")


@pytest.mark.parametrize(
  "error",
  [
    OSError(errno.EIO, os.strerror(errno.EIO)),
    KeyError("No space left on device"),
    DataError("No space left on device"),
  ],
)
def test_other_errors_and_user_errors_are_no_full_device(error):
  assert not system.is_full(error)


def test_what_tensorstore_quotes_of_the_system_is_one_line(tmp_path):
  (tmp_path / "file").touch()
  base = {"driver": "file", "path": f"{tmp_path}/file/a/"}
  store = tensorstore.KvStore.open({"driver": "ocdbt", "base": base}).result()
  with pytest.raises(ValueError) as error:
    store.write(b"key", b"value" * 1_000).result(timeout=60)  # once it never came
  text = system.text_of(error.value)
  assert text.startswith("ValueError: ") and "Not a directory" in text and "\n" not in text
  assert text.endswith(
    "A part of this path is a file, where a folder was expected: correct the path."
  )


@pytest.mark.parametrize(
  ("error", "text"),
  [
    (
      ValueError("OUT_OF_RANGE: /x: File too large [os_error_code='27']"),
      "ValueError: OUT_OF_RANGE: /x: File too large [os_error_code='27']. A file may not become",
    ),
    (
      RuntimeError("Failed to write: Read-only file system\nwriting /x"),
      "RuntimeError: Failed to write: Read-only file system. This is on a device that can only be",
    ),
    (
      wrapped(RuntimeError("Input/output error.")),
      "ValueError: Input/output error. What was written is kept: have the machine repaired,",
    ),
  ],
)
def test_what_libraries_quote_of_the_system_says_what_to_do(error, text):
  assert system.text_of(error).startswith(text)


def test_values_that_are_wrong_are_no_fault_of_the_system():
  assert system.text_of(ValueError("Input/output error")) is None
  assert system.text_of(RuntimeError("shapes differ")) is None
  try:
    try:
      raise RuntimeError("Input/output error")
    except RuntimeError:
      raise KeyError("a bug that came after it")  # noqa: B904
  except KeyError as error:
    assert system.text_of(error) is None


def test_an_error_raised_from_a_user_error_is_not_reported_again():
  full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
  try:
    raise DataError("No space left on the device of x.") from full
  except DataError as error:
    assert not system.is_full(error) and system.text_of(error) is None


@pytest.mark.parametrize(
  ("number", "text"),
  [
    (errno.EACCES, "PermissionError: Permission denied: /x/y. Expected a place that this user may"),
    (errno.EPERM, "PermissionError: Operation not permitted: /x/y. Expected a place that this"),
    (errno.EROFS, "OSError: Read-only file system: /x/y. This is on a device that can only be re"),
    (errno.ENOENT, "FileNotFoundError: No such file or directory: /x/y. There is no such file or"),
    (errno.ENOTDIR, "NotADirectoryError: Not a directory: /x/y. A part of this path is a file, "),
    (errno.EISDIR, "IsADirectoryError: Is a directory: /x/y. This is a folder, where a file was"),
    (errno.EEXIST, "FileExistsError: File exists: /x/y. Something else has this name already: "),
    (errno.ENAMETOOLONG, "OSError: File name too long: /x/y. The name is longer than the file sys"),
    (errno.EMFILE, "OSError: Too many open files: /x/y. This process has as many files open as"),
    (errno.EIO, "OSError: Input/output error: /x/y. What was written is kept: have the machine re"),
    (errno.ESTALE, "OSError: Stale file handle: /x/y. What was written is kept: have the machine "),
  ],
)
def test_a_fault_of_the_system_names_the_path_and_what_to_do(number, text):
  said = system.text_of(OSError(number, os.strerror(number), "/x/y"))
  assert said.startswith(text) and said.endswith(".") and "\n" not in said


def test_both_paths_of_a_rename_are_named():
  said = system.text_of(OSError(errno.EXDEV, os.strerror(errno.EXDEV), "/a", None, b"/b"))
  assert ": /a -> /b. " in said


def test_a_library_that_cannot_be_loaded_is_a_fault_of_the_machine(tmp_path):
  (tmp_path / "broken.so").write_bytes(b"no library")
  with pytest.raises(OSError) as error:
    ctypes.CDLL(str(tmp_path / "broken.so"))
  assert system.text_of(error.value).startswith(f"OSError: {tmp_path}/broken.so: ")
  assert not system.is_of_path(error.value)


def test_a_missing_package_is_named_with_its_extra_and_a_bug_of_ours_is_not():
  with pytest.raises(ImportError) as error:
    import no_such_package  # noqa: F401
  assert "No module named 'no_such_package'. A package that this command needs is missing" in (
    system.text_of(error.value)
  )
  with pytest.raises(ImportError) as error:
    from audiopalm.errors import NoSuchError  # noqa: F401
  assert system.text_of(error.value) is None
  assert system.text_of(ZeroDivisionError()) is None


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENOMEM])
def test_a_fault_of_the_machine_is_not_one_of_the_path(number):
  assert not system.is_of_path(OSError(number, ""))
  assert system.is_of_path(OSError(errno.ENOENT, "")) and system.is_of_path(PermissionError(13, ""))

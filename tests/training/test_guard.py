import os
import signal
import threading

import pytest

from audiopalm import errors
from audiopalm.training import guard


def test_first_signal_asks_and_the_handlers_come_back():
  before = signal.getsignal(signal.SIGTERM)
  with guard.stop_signals() as stop:
    assert stop.asked_by == ""
    os.kill(os.getpid(), signal.SIGTERM)
    assert stop.asked_by == "SIGTERM"
    assert signal.getsignal(signal.SIGTERM) is before
  assert signal.getsignal(signal.SIGTERM) is before


@pytest.fixture
def interruptible():
  """Ctrl-C works, also where a shell started the tests in the background with SIGINT ignored."""
  before = signal.signal(signal.SIGINT, signal.default_int_handler)
  yield
  signal.signal(signal.SIGINT, before)


def test_second_interrupt_is_a_keyboard_interrupt(interruptible):
  with pytest.raises(KeyboardInterrupt), guard.stop_signals() as stop:
    os.kill(os.getpid(), signal.SIGINT)
    assert stop.asked_by == "SIGINT"
    os.kill(os.getpid(), signal.SIGINT)


def test_outside_the_main_thread_nothing_is_caught():
  before = signal.getsignal(signal.SIGTERM)
  seen = []

  def enter():
    with guard.stop_signals():
      seen.append(signal.getsignal(signal.SIGTERM))

  thread = threading.Thread(target=enter)
  thread.start()
  thread.join()
  assert seen == [before]


def test_too_many_bad_steps_say_what_to_change():
  guard.check_streak(19, 40)
  with pytest.raises(errors.BadSteps) as error:
    guard.check_streak(20, 41)
  assert error.value.exit_code == 71
  assert "last 20 steps up to step 41" in str(error.value)
  assert "optimizer.peak_lr" in str(error.value)

import errno
import io
import os
import threading

import numpy as np
import pytest
import soundfile

from audiopalm import layouts
from audiopalm.audio import waveform
from audiopalm.cli import main
from audiopalm.data.corpora import Synthetic
from audiopalm.errors import EXIT_DONE, EXIT_USER
from audiopalm.inference import prompting
from audiopalm.parts import mixtures


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
  """Runs `audiopalm generate` in a folder of its own; gives the exit code, stdout and stderr."""
  monkeypatch.chdir(tmp_path)

  def run(*arguments):
    code = main.main(["generate", "--workdir", "run", *arguments])
    said = capsys.readouterr()
    return code, said.out, said.err

  return run


def record(made_up, name, text):
  waveform.write(name, made_up.wave_of(text))


def test_each_file_gets_one_line_of_path_tab_text(opened, command, made_up):
  opened()
  record(made_up, "a.wav", "one two")
  record(made_up, "b.wav", "six")
  code, out, err = command("--task", "asr", "--language", "en", "--audio", "a.wav", "b.wav")
  assert (code, out, err) == (EXIT_DONE, "a.wav\tone two\nb.wav\tsix\n", "")


def test_bad_files_are_errors_and_the_others_are_done(opened, command, made_up, tmp_path):
  opened()
  record(made_up, "good.wav", "six")
  (tmp_path / "text.wav").write_text("hello")
  (tmp_path / "empty.wav").write_bytes(b"")
  waveform.write("silent.wav", np.zeros(16_000, np.float32))
  whole = (tmp_path / "good.wav").read_bytes()
  (tmp_path / "cut.wav").write_bytes(whole[: len(whole) // 2])
  names = ["text.wav", "empty.wav", "good.wav", "silent.wav", "cut.wav", "none.wav"]
  code, out, err = command("--task", "asr", "--language", "en", "--audio", *names)
  assert code == EXIT_USER
  assert out == "good.wav\tsix\n"
  faults = err.strip().splitlines()
  assert len(faults) == 5
  for name, fault in zip(
    ["text.wav", "empty.wav", "silent.wav", "cut.wav", "none.wav"], faults, strict=True
  ):
    assert fault.startswith(f"AudioError: {name}: ")
  assert "silent" in faults[2]
  assert "truncated: its header declares" in faults[3]
  assert "no such file" in faults[4]


def test_a_file_whose_name_is_not_utf_8_is_one_error_and_the_others_are_done(
  opened, command, made_up
):
  opened()
  latin_1 = os.fsdecode(b"caf\xe9.wav")
  for name in ("a.wav", latin_1, "b.wav"):
    record(made_up, name, "six")
  code, out, err = command(
    "--task", "asr", "--language", "en", "--audio", "a.wav", latin_1, "b.wav"
  )
  assert (code, out) == (EXIT_USER, "a.wav\tsix\nb.wav\tsix\n")
  assert err.startswith(
    "AudioError: caf\\udce9.wav: its name is not UTF-8, so it cannot be written"
  )
  assert err.count("\n") == 1


def test_a_fault_of_the_machine_ends_all(opened, command, made_up, monkeypatch):
  opened()
  record(made_up, "a.wav", "six")

  def stale(*given, **named):
    raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), "a.wav")

  monkeypatch.setattr(waveform, "load", stale)
  code, out, err = command("--task", "asr", "--language", "en", "--audio", "a.wav", "b.wav")
  assert (code, out) == (EXIT_USER, "")
  assert err.startswith("OSError: Stale file handle: a.wav.") and err.count("\n") == 1


def test_standard_input_and_pipes_are_recordings_and_a_folder_is_none(
  opened, command, made_up, tmp_path, monkeypatch
):
  opened()
  record(made_up, "a.wav", "one two")
  os.mkfifo("pipe")
  data = (tmp_path / "a.wav").read_bytes()
  writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(data,))
  writer.start()
  monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))
  code, out, err = command("--task", "asr", "--language", "en", "--audio", "-", "pipe", ".")
  writer.join()
  assert (code, out) == (EXIT_USER, "-\tone two\npipe\tone two\n")
  assert err == (
    "AudioError: .: is a folder. Name the files in it, such as *.wav; a shell lists them.\n"
  )


def test_speech_of_standard_input_is_named_so(opened, command, made_up, tmp_path, monkeypatch):
  opened(mixtures.s2st)
  record(made_up, "a.wav", "one two")
  data = (tmp_path / "a.wav").read_bytes()
  monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))
  languages = ("--source", "en", "--target", "fr")
  code, out, _ = command("--task", "s2st", *languages, "--audio", "-", "--out", "spoken")
  assert (code, out) == (EXIT_DONE, "-\tspoken/stdin.wav\n")


def test_channels_that_cancel_are_told_on_stderr(opened, command, made_up):
  opened()
  wave_S = made_up.wave_of("one two")
  soundfile.write("a.wav", np.stack([wave_S, -wave_S], axis=1), waveform.RATE_HZ)
  code, out, err = command("--task", "asr", "--language", "en", "--audio", "a.wav")
  assert (code, out) == (EXIT_DONE, "a.wav\tone two\n")
  assert err == "a.wav: channels cancel in the mean: only channel 1 of 2 is used\n"


def test_a_text_may_begin_with_a_dash(opened, command):
  opened(mixtures.mt)
  pair = ("--task", "mt", "--source", "en", "--target", "fr")
  lines = ("-one",), ("one", "-two", "--seed", "1"), ("-one", "--one two")
  for text in (("--text=-one",), *(("--text", *line) for line in lines)):
    code, out, _ = command(*pair, *text)
    assert code == EXIT_DONE
    assert len(out.splitlines()) == sum("one" in one or "two" in one for one in text)


def test_the_language_found_is_named_on_stderr(opened, command, made_up, monkeypatch):
  opened()
  record(made_up, "a.wav", "one")

  def answer(trained, task, prompts, **options):
    of = {"[ASR English]": -2.0, "[ASR French]": -1.0}
    return [
      prompting.Continuation({"source.text": [97]}, of[prompt.tag], 2, True) for prompt in prompts
    ]

  monkeypatch.setattr(prompting, "continuations", answer)
  code, out, err = command("--task", "asr", "--audio", "a.wav")
  assert (code, out) == (EXIT_DONE, "a.wav\ta\n")
  assert err == "a.wav: language fr (log-likelihood per token: en -1.000, fr -0.500)\n"


def test_the_only_language_of_a_run_is_taken_without_a_word(opened, command, made_up):
  opened(corpus=Synthetic(languages=("en",)))
  record(made_up, "a.wav", "one")
  assert command("--task", "asr", "--audio", "a.wav") == (EXIT_DONE, "a.wav\tone\n", "")


def test_speech_is_written_to_the_wav_named(opened, command, made_up):
  opened()
  code, out, _ = command("--task", "tts", "--text", "one", "--language", "en", "--out", "o.wav")
  assert (code, out) == (EXIT_DONE, "text 1\to.wav\n")
  spoken_S = waveform.read("o.wav")
  np.testing.assert_allclose(spoken_S, made_up.wave_of("one"), atol=1e-4)


def test_several_inputs_share_a_folder_and_not_a_file(opened, command):
  opened()
  several = ("--task", "tts", "--language", "en", "--text", "one", "two")
  code, out, err = command(*several, "--out", "o.wav")
  assert code == EXIT_USER
  assert "2 inputs cannot share one file o.wav. Give --out a folder" in err
  code, out, _ = command(*several, "--out", "spoken")
  assert (code, out) == (
    EXIT_DONE,
    "text 1\tspoken/text-1.wav\ntext 2\tspoken/text-2.wav\n",
  )


def test_two_files_of_one_name_are_refused_before_anything_is_written(
  opened, command, made_up, tmp_path
):
  opened(mixtures.s2st)
  for folder in ("x", "y"):
    (tmp_path / folder).mkdir()
    record(made_up, f"{folder}/a.wav", "one")
  code, _, err = command("--task", "s2st", "--audio", "x/a.wav", "y/a.wav", "--out", "spoken")
  assert code == EXIT_USER
  assert "Two inputs are named 'a'" in err
  assert not (tmp_path / "spoken").exists()


def test_speech_without_a_place_says_how_to_give_one(opened, command):
  opened()
  code, _, err = command("--task", "tts", "--text", "one", "--language", "en")
  assert code == EXIT_USER
  assert "Task 'tts' outputs speech: give a file for it, --out FILE.wav." in err


def test_a_place_for_text_is_refused(opened, command, made_up):
  opened()
  record(made_up, "a.wav", "one")
  code, _, err = command("--task", "asr", "--audio", "a.wav", "--out", "o.wav")
  assert code == EXIT_USER
  assert "Task 'asr' outputs text, which is printed: leave out --out" in err


def test_a_chain_prints_its_texts_and_writes_its_speech(opened, command, made_up):
  opened(mixtures.chain)
  record(made_up, "a.wav", "one")
  ask = ("--task", "chain", "--audio", "a.wav", "--source", "en", "--target", "fr")
  assert command(*ask)[1] == "a.wav\tONE\tONE\n"
  assert command(*ask, "--out", "o.wav")[1] == "a.wav\tONE\tONE\to.wav\n"


EDIT = ("--task", "tts", "--language", "en", "--edit", "a.wav")


def test_a_recording_is_edited_into_the_file_named(opened, command, made_up, monkeypatch):
  opened(layout=layouts.Infilling(("units",)))
  record(made_up, "a.wav", "one two six")
  asked = []

  def answer(trained, task, prompts, **options):
    asked.extend(prompts)
    return made_up.oracle(trained, task, prompts)

  monkeypatch.setattr(prompting, "continuations", answer)
  spans = ("--span", "0.04:0.1", "--span", "0.3:")
  code, out, err = command(*EDIT, "--text", "one six", *spans, "--out", "o.wav")
  assert (code, out, err) == (EXIT_DONE, "a.wav\to.wav\n", "")
  assert asked[0].holes == [(1, 3), (7, 11)]
  new = ("--transcript", "one two six", "--text", "one ten six", "--out", "spoken")
  code, out, err = command(*EDIT, *new)
  assert (code, out) == (EXIT_DONE, "a.wav\tspoken/a.wav\n")
  assert err == "a.wav: the words that change are at 0.07:0.37 s, estimated from their letters\n"
  assert asked[1].holes == [(1, 10)]
  code, _, err = command(*EDIT, "--text", "one six", *spans, "--out", "a.wav")
  assert code == EXIT_USER and "a.wav" in err and waveform.read("a.wav").shape == (11 * 640,)


@pytest.mark.parametrize(
  ("arguments", "text"),
  [
    (("--text", "x"), "takes its transcript, which is compared with the text, or the spans to be"),
    (("--text", "x", "--transcript", "y", "--span", "0:1"), "to be spoken anew: one of the two."),
    (("--text", "x", "y", "--span", "0:1"), "takes one text, all that it shall say then; 2 came."),
    (("--audio", "b.wav", "--span", "0:1"), "--edit FILE is the recording: give --text, all that"),
    (("--text", "x", "--span", "0.1:9"), "The span 0.1:9 is not within the recording, which lasts"),
    (("--text", "x", "--span", "0:0.1", "--edit", "none.wav"), "none.wav: no such file"),
  ],
)
def test_an_edit_that_cannot_be_says_what_to_give(opened, command, made_up, arguments, text):
  opened(layout=layouts.Infilling(("units",)))
  record(made_up, "a.wav", "one two six")
  code, out, err = command(*EDIT, "--out", "o.wav", *arguments)
  assert (code, out) == (EXIT_USER, "") and text in err


def test_what_changes_needs_a_recording_and_a_span_is_two_numbers(opened, command, capsys):
  opened()
  say = ("--task", "tts", "--language", "en", "--out", "o.wav", "--text", "x")
  code, _, err = command(*say, "--transcript", "y")
  assert code == EXIT_USER
  assert (
    "--transcript and --span tell what to change in a recording: name it by --edit FILE." in err
  )
  with pytest.raises(SystemExit):
    command(*say, "--edit", "a.wav", "--span", "0.4")
  expected = "argument --span: expected START:END in seconds, such as 0.4:0.9, or START: up to"
  assert expected in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
  ("arguments", "text"),
  [
    (("--task", "asl", "--text", "x"), "Unknown task 'asl'. This run was trained on: asr, tts, mt"),
    (("--task", "mt", "--text", "x", "--source", "xx"), "Unknown language 'xx'"),
    (
      ("--task", "mt", "--text", "x", "--num-beams", "0"),
      "beams must be an integer of at least 1",
    ),
    (
      ("--task", "mt", "--text", "x", "--num-beams", "2", "--temperature", "1"),
      "leave out beams=2, or what makes it drawn at temperature 1.",
    ),
    (
      ("--task", "tts", "--text", "x", "--language", "en", "--voice", "bob", "--out", "o.wav"),
      "Unknown voice 'bob'. Known voices: en-anna",
    ),
  ],
)
def test_an_unknown_name_lists_the_known_ones(opened, command, arguments, text):
  opened()
  code, out, err = command(*arguments)
  assert (code, out) == (EXIT_USER, "")
  assert text in err


def test_more_files_than_are_decoded_at_one_time_all_get_their_line(
  opened, command, made_up, monkeypatch
):
  from audiopalm.cli import generate

  monkeypatch.setattr(generate, "AT_ONCE", 2)
  opened()
  words = ("one", "two", "six", "ten", "four")
  for word in words:
    record(made_up, f"{word}.wav", word)
  _, out, _ = command(
    "--task", "asr", "--language", "en", "--audio", *(f"{word}.wav" for word in words)
  )
  assert out.splitlines() == [f"{word}.wav\t{word}" for word in words]


def test_a_workdir_without_a_run_says_how_to_train_one(tmp_path, capsys):
  code = main.main(
    ["generate", "--workdir", str(tmp_path / "none"), "--task", "asr", "--audio", "a.wav"]
  )
  assert code == EXIT_USER
  assert "There is no run in" in capsys.readouterr().err


def test_help_shows_an_example_of_each_kind(capsys):
  with pytest.raises(SystemExit):
    main.main(["generate", "--help"])
  said = capsys.readouterr().out
  for task in ("asr", "ast", "mt", "tts", "s2st"):
    assert f"--task {task}" in said

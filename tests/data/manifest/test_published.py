"""Published corpora in the layouts they are downloaded in, a few made clips each."""

import dataclasses
import pickle

import pytest

from audiopalm import values
from audiopalm.data.manifest import corpus, lines, published
from audiopalm.errors import ConfigError, DataError
from audiopalm.parts import corpora

THEIRS = ("train", "dev", "test")


def put(path, *rows):
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text("".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")


def told(settings, split):
  """Returns what is asked of every record of a split: ids, words, languages and voices."""
  return [
    (
      source.id, source.text, source.language, source.speaker,
      target and (target.text, target.language, target.speaker),
    )
    for source, target in corpus.records(settings, split)
  ]  # fmt: skip


def refused(error, call, *arguments, **named):
  with pytest.raises(error) as caught:
    call(*arguments, **named)
  return str(caught.value)


@pytest.fixture
def librispeech(tmp_path):
  root = tmp_path / "LibriSpeech"
  subsets = {"train-clean-100": 1, "train-clean-360": 2, "dev-clean": 3, "test-clean": 4}
  for subset, speaker in subsets.items():
    chapter = root / subset / str(speaker) / "7"
    chapter.mkdir(parents=True)
    (chapter / f"{speaker}-7.trans.txt").write_text(f"{speaker}-7-0000 GO ON\n")
    (chapter / f"{speaker}-7-0000.flac").touch()
  return root


@pytest.fixture
def common_voice(tmp_path):
  """Common Voice 4 in French: clips 0 to 3, with a line that nobody needs and cannot be read."""
  root = tmp_path / "cv"
  rows = [
    (f"speaker{n % 2}", f"common_voice_fr_{n}.mp3", f'Phrase "{n}\\\\{n}', "2", "")
    for n in range(4)
  ]
  header = ("client_id", "path", "sentence", "up_votes", "accent")
  put(root / "fr" / "validated.tsv", header, *rows, ("cut", "common_voice_fr_9.mp3"))
  (root / "fr" / "clips").mkdir()
  for number in range(4):
    (root / "fr" / "clips" / f"common_voice_fr_{number}.mp3").touch()
  return root


@pytest.fixture
def covost2(common_voice):
  """CoVoST 2 beside the clips, as its script divides it: clip 0 and 1, 2 and 3."""
  header = ("path", "sentence", "translation", "client_id")
  rows = [
    (f"common_voice_fr_{n}.mp3", f'Phrase "{n}\\\\{n}', f"Sentence {n}.", f"speaker{n % 2}")
    for n in range(4)
  ]
  for theirs, some in zip(THEIRS, (rows[:2], rows[2:3], rows[3:]), strict=True):
    put(common_voice / "fr" / f"covost_v2.fr_en.{theirs}.tsv", header, *some)
  return common_voice


@pytest.fixture
def cvss(tmp_path, common_voice):
  root = tmp_path / "cvss_c_fr_en_v1.0"
  for theirs, numbers in zip(THEIRS, ((0, 1), (2,), (3,)), strict=True):
    clips = [f"common_voice_fr_{n}.mp3" for n in numbers]
    put(root / f"{theirs}.tsv", *((clip, f"sentence {clip[-5]}") for clip in clips))
    (root / theirs).mkdir()
    for clip in clips:
      (root / theirs / f"{clip}.wav").touch()
  return root


def fleurs_row(sentence, file, language, gender="FEMALE"):
  return (sentence, file, f"Raw, {language}.", f"{language} {sentence}", "r a w", "8000", gender)


@pytest.fixture
def fleurs(tmp_path):
  """Sentence 1 in both languages (twice in French), 2 in English alone."""
  data = tmp_path / "fleurs" / "data"
  for language in ("en_us", "fr_fr"):
    for number, theirs in enumerate(THEIRS):
      rows = [fleurs_row("1", f"{number}1.wav", language)]
      if language == "en_us":
        rows.append(fleurs_row("2", f"{number}2.wav", language, "MALE"))
      else:
        rows.append(fleurs_row("1", f"{number}9.wav", language, "MALE"))
      put(data / language / f"{theirs}.tsv", *rows)
      audio = data / language / "audio" / theirs
      audio.mkdir(parents=True)
  return data.parent


@pytest.fixture
def voxpopuli(tmp_path):
  data = tmp_path / "voxpopuli" / "transcribed_data"
  header = ("id", "raw_text", "normalized_text", "speaker_id", "split", "gender")
  for code in ("en", "de"):
    for year, theirs in enumerate(THEIRS, 2009):
      row = (f"{year}-PLENARY-{code}_1", "", f"said in {code}", "1234", theirs, "female")
      nobody = (f"{year}-PLENARY-{code}_2", "Raw.", "raw", "None", theirs, "None")
      put(data / code / f"asr_{theirs}.tsv", header, row, nobody)
      (data / code / str(year)).mkdir()
  return data.parent


def test_librispeech_is_its_subsets(librispeech):
  subsets = ("train-clean-100", "train-clean-360")
  found = corpora.librispeech(str(librispeech), subsets, held_out_voices="test-clean", test=())
  assert [record[:4] for record in told(found, "train")] == [
    ("1-7-0000", "GO ON", "en", "1"), ("2-7-0000", "GO ON", "en", "2"),
  ]  # fmt: skip
  assert [record[3] for record in told(found, "held_out_voices")] == ["4"]
  assert found.test is None and found.roles == ("source",)
  assert [record[3] for record in told(corpora.librispeech(str(librispeech)), "test")] == ["4"]


def test_a_subset_that_is_not_there_says_what_is(librispeech):
  text = refused(ConfigError, corpora.librispeech, str(librispeech), train=("train-other-500",))
  assert text == (
    f"LibriSpeech: {librispeech}/train-other-500 does not exist: {librispeech} holds dev-clean, "
    "test-clean, train-clean-100, train-clean-360. Correct the name, or download and unpack what "
    "is missing."
  )
  text = refused(ConfigError, corpora.librispeech, str(librispeech / "none" / "at"))
  assert f"{librispeech}/none/at does not exist: {librispeech} holds dev-clean" in text


def test_a_subset_to_train_on_has_to_be_named(librispeech):
  text = refused(ConfigError, corpora.librispeech, str(librispeech), train=())
  assert text == (
    "LibriSpeech: train=() names no subset. Name one or more: dev-clean, test-clean, "
    "train-clean-100, train-clean-360."
  )


def test_an_archive_that_is_not_unpacked_is_no_folder(librispeech):
  archive = librispeech / "train-clean-100.tar.gz"
  archive.touch()
  text = refused(ConfigError, corpora.fleurs, str(archive), languages=("en_us",))
  assert f"{archive}/en_us/train.tsv does not exist: {librispeech} holds dev-clean" in text


def test_a_subset_belongs_to_one_split(librispeech):
  text = refused(DataError, corpora.librispeech, str(librispeech), test=("dev-clean",))
  assert f"its recording is that of {librispeech}/dev-clean/3/7/3-7.trans.txt:1 too" in text


def test_covost_is_speech_words_and_their_translation(covost2):
  found = corpora.covost2(str(covost2), pair="fr_en")
  assert told(found, "train") == [
    (f"common_voice_fr_{n}.mp3", f'Phrase "{n}\\{n}', "fr", f"speaker{n}",
     (f"Sentence {n}.", "en", ""))
    for n in range(2)
  ]  # fmt: skip
  assert len(told(found, "validation")) == len(told(found, "test")) == 1
  ((source, target),) = corpus.records(found, "test")
  assert source.audio == str(covost2 / "fr" / "clips" / "common_voice_fr_3.mp3")
  assert target.audio is None and found.translations == (("fr", "en"),)


def test_covost_as_downloaded_is_divided_as_its_own_script_does(covost2):
  divided = corpora.covost2(str(covost2), pair="fr_en")
  expected = [told(divided, split) for split in published.SPLITS]
  for theirs in THEIRS:
    (covost2 / "fr" / f"covost_v2.fr_en.{theirs}.tsv").unlink()
  splits = ("train", "train_covost", "dev", "test", "dev_covost")
  rows = [(f"common_voice_fr_{n}.mp3", f"Sentence {n}.", split) for n, split in enumerate(splits)]
  put(covost2 / "covost_v2.fr_en.tsv", ("path", "translation", "split"), *rows)
  whole = corpora.covost2(str(covost2), pair="fr_en")
  assert [told(whole, split) for split in published.SPLITS] == expected


def test_covost_of_another_common_voice_says_so(covost2):
  for theirs in THEIRS:
    (covost2 / "fr" / f"covost_v2.fr_en.{theirs}.tsv").unlink()
  rows = [(f"common_voice_fr_99{theirs}.mp3", "Sentence.", theirs) for theirs in THEIRS]
  put(covost2 / "covost_v2.fr_en.tsv", ("path", "translation", "split"), *rows)
  text = refused(DataError, corpora.covost2, str(covost2), pair="fr_en")
  assert (
    f"{covost2}/covost_v2.fr_en.tsv: has no line of the split 'dev' whose clip is in "
    f"{covost2}/fr/validated.tsv. Give the folder of Common Voice 4" in text
  )


def test_covost_says_what_it_lacks(common_voice):
  text = refused(ConfigError, corpora.covost2, str(common_voice), pair="fr_en")
  assert text == (
    f"CoVoST 2: neither {common_voice} nor {common_voice}/fr holds covost_v2.fr_en.tsv: there are "
    "fr. Download and unpack that table, or correct folder and pair."
  )
  put(common_voice / "covost_v2.fr_en.train.tsv", ("path", "sentence", "translation"), ("a",) * 3)
  text = refused(ConfigError, corpora.covost2, str(common_voice), pair="fr_en")
  assert f"{common_voice}/covost_v2.fr_en.dev.tsv does not exist" in text
  for theirs in THEIRS[1:]:
    put(common_voice / f"covost_v2.fr_en.{theirs}.tsv", ("path", "sentence"), ("a", "b"))
  text = refused(DataError, corpora.covost2, str(common_voice), pair="fr_en")
  assert "train.tsv:1: no column 'client_id': expected path, sentence, translation, clien" in text
  assert "dev.tsv:1: no column 'translation'" in text
  text = refused(ConfigError, corpora.covost2, str(common_voice), pair="de_en")
  assert text.startswith(
    f"CoVoST 2: no recordings: expected Common Voice 4 in {common_voice}/de/clips. Download"
  )


@pytest.mark.parametrize("pair", ["fr", "_en", "fr-en"])
def test_a_pair_that_is_none_says_how_to_write_one(covost2, pair):
  text = refused(ConfigError, corpora.covost2, str(covost2), pair=pair)
  assert text.startswith(f"CoVoST 2: pair={pair!r} must be source and target language as in the")


def test_cvss_is_speech_and_words_on_both_sides(cvss, common_voice):
  found = corpora.cvss(str(cvss), pair="fr_en", common_voice=str(common_voice))
  assert told(found, "train") == [
    (f"common_voice_fr_{n}.mp3", f'Phrase "{n}\\{n}', "fr", f"speaker{n}",
     (f"sentence {n}", "en", "cvss"))
    for n in range(2)
  ]  # fmt: skip
  ((source, target),) = corpus.records(found, "validation")
  assert source.audio == str(common_voice / "fr" / "clips" / "common_voice_fr_2.mp3")
  assert target.audio == str(cvss / "dev" / "common_voice_fr_2.mp3.wav")
  assert found.train_voices("en") == ("cvss",)
  assert found.train_voices("fr") == ("speaker0", "speaker1")


def test_transferred_voices_are_those_of_the_clips(cvss, common_voice):
  arguments = {"pair": "fr_en", "common_voice": str(common_voice / "fr")}
  found = corpora.cvss(str(cvss), transferred=True, **arguments)
  assert found.train_voices("en") == ("speaker0", "speaker1")
  assert found.fingerprint != corpora.cvss(str(cvss), **arguments).fingerprint


def test_a_clip_that_common_voice_does_not_know_is_a_fault(cvss, common_voice):
  put(cvss / "dev.tsv", ("common_voice_fr_9.mp3", "nine"), ("path", "one", "more"))
  text = refused(DataError, corpora.cvss, str(cvss), pair="fr_en", common_voice=str(common_voice))
  assert (
    f"{cvss}/dev.tsv:1: the clip 'common_voice_fr_9.mp3' has no line in "
    f"{common_voice}/fr/validated.tsv. Give the folder of Common Voice 4" in text
  )
  assert f"{cvss}/dev.tsv:2: has 3 cells, expected 2: path, translation." in text
  put(common_voice / "fr" / "validated.tsv", ("path", "text"), ("a", "b"))
  text = refused(DataError, corpora.cvss, str(cvss), pair="fr_en", common_voice=str(common_voice))
  assert "validated.tsv:1: no column 'sentence': expected path, sentence, client_id" in text


def test_cvss_says_what_it_lacks(cvss, common_voice):
  (cvss / "test" / "common_voice_fr_3.mp3.wav").unlink()
  (cvss / "test").rmdir()
  text = refused(ConfigError, corpora.cvss, str(cvss), pair="fr_en", common_voice=str(common_voice))
  assert text.startswith(f"CVSS: {cvss}/test does not exist: {cvss} holds dev, dev.tsv, test.tsv")


def test_the_clips_of_common_voice_have_to_be_named():
  text = refused(ConfigError, published.CVSS, "fr", "en")
  assert text.startswith("CVSS needs the clips of Common Voice: expected audio_dir")


def test_sentences_of_fleurs_are_translated_by_recordings_of_the_other_language(fleurs):
  found = corpora.fleurs(str(fleurs), languages=("en_us", "fr_fr"))
  english, french = ("en_us 1", "en", "en_us-female"), ("fr_fr 1", "fr", "fr_fr-female")
  assert told(found, "train") == [
    ("en_us-01-fr", *english, french),
    ("en_us-02", "en_us 2", "en", "en_us-male", None),
    ("fr_fr-01-en", *french, english),
    ("fr_fr-09-en", "fr_fr 1", "fr", "fr_fr-male", english),
  ]
  assert found.translations == (("en", "fr"), ("fr", "en")) and found.held_out_voices is None
  source, target = corpus.records(found, "test")[0]
  data = fleurs / "data"
  assert source.audio == str(data / "en_us" / "audio" / "test" / "21.wav")
  assert target.audio == str(data / "fr_fr" / "audio" / "test" / "21.wav")


def test_recordings_of_a_sentence_take_turns_as_targets(fleurs):
  rows = [fleurs_row("1", f"{name}.wav", "en_us") for name in "abc"]
  put(fleurs / "data" / "en_us" / "train.tsv", *rows, rows[0])
  found = corpora.fleurs(str(fleurs / "data"), languages=("en_us", "fr_fr"), raw=True)
  records = [pair for pair in corpus.records(found, "train") if pair[0].language == "en"]
  assert [target.audio[-6:] for _, target in records] == ["01.wav", "09.wav", "01.wav"]
  assert {source.text for source, _ in records} == {"Raw, en_us."}


def test_of_three_languages_a_recording_is_two_records(fleurs):
  for number, theirs in enumerate(THEIRS):
    row = fleurs_row("1", f"{number}1.wav", "cmn_hans_cn")
    put(fleurs / "data" / "cmn_hans_cn" / f"{theirs}.tsv", row)
    (fleurs / "data" / "cmn_hans_cn" / "audio" / theirs).mkdir(parents=True)
  found = corpora.fleurs(str(fleurs), languages=("cmn_hans_cn", "en_us", "fr_fr"))
  assert [record[0] for record in told(found, "train")][:2] == [
    "cmn_hans_cn-01-en", "cmn_hans_cn-01-fr",
  ]  # fmt: skip
  assert len(found.translations) == 6 and found.languages == ("en", "fr", "zh")


@pytest.mark.parametrize(
  ("languages", "text"),
  [
    (("en_us", "de_de"), "FLEURS: {data}/de_de/train.tsv does not exist: {data} holds en_us, fr"),
    (("luo_ke",), "FLEURS: 'luo_ke' is not a known language. Expected one of"),
    (("en_us", "en_us"), "FLEURS: languages=('en_us', 'en_us') must be a tuple of folder names"),
    ("en_us", "FLEURS: languages='en_us' must be a tuple of folder names"),
    ((), "FLEURS: languages=() must be a tuple of folder names"),
  ],
)
def test_languages_that_cannot_be_read_are_refused(fleurs, languages, text):
  said = refused(ConfigError, corpora.fleurs, str(fleurs), languages=languages)
  assert said.startswith(text.format(data=fleurs / "data"))


def test_recordings_that_are_not_unpacked_are_told(fleurs):
  audio = fleurs / "data" / "en_us" / "audio"
  (audio / "dev").rmdir()
  (audio / "dev.tar.gz").touch()
  text = refused(ConfigError, corpora.fleurs, str(fleurs), languages=("en_us",))
  assert text.startswith(f"FLEURS: {audio}/dev does not exist: {audio} holds dev.tar.gz, test, tr")


def test_a_line_of_fleurs_has_seven_cells(fleurs):
  put(fleurs / "data" / "en_us" / "dev.tsv", ("1", "a.wav", "Raw.", "raw", "8000", "MALE"))
  text = refused(DataError, corpora.fleurs, str(fleurs), languages=("en_us",))
  assert f"{fleurs}/data/en_us/dev.tsv:1: has 6 cells, expected 7: id, file, raw_trans" in text


def test_voxpopuli_is_speech_words_and_speakers(voxpopuli):
  found = corpora.voxpopuli(str(voxpopuli), languages=("de", "en"))
  assert told(found, "train") == [
    ("2009-PLENARY-de_1", "said in de", "de", "1234", None),
    ("2009-PLENARY-de_2", "raw", "de", lines.SOMEBODY, None),
    ("2009-PLENARY-en_1", "said in en", "en", "1234", None),
    ("2009-PLENARY-en_2", "raw", "en", lines.SOMEBODY, None),
  ]
  ((source, _), _) = corpus.records(found, "test")[:2]
  data = voxpopuli / "transcribed_data"
  assert source.audio == str(data / "de" / "2011" / "2011-PLENARY-de_1.ogg")
  raw = corpora.voxpopuli(str(data), languages=("de",), raw=True)
  assert [record[1] for record in told(raw, "train")] == ["", "Raw."]


def test_voxpopuli_says_what_it_lacks(voxpopuli):
  english = voxpopuli / "transcribed_data" / "en"
  put(english / "asr_dev.tsv", ("id", "raw_text", "split"), ("2010-1", "a", "dev"))
  text = refused(DataError, corpora.voxpopuli, str(voxpopuli), languages=("en",))
  assert "asr_dev.tsv:1: no column 'normalized_text': expected id, raw_text, normalized" in text
  for year in range(2009, 2012):
    (english / str(year)).rmdir()
  text = refused(ConfigError, corpora.voxpopuli, str(voxpopuli), languages=("en",))
  assert text == (
    f"VoxPopuli: {english} has no recordings: it holds asr_dev.tsv, asr_test.tsv, asr_train.tsv. "
    "Cut them with VoxPopuli's own get_asr_data, which writes a folder for each year."
  )


def test_settings_of_all_survive_json_and_pickle_and_do_not_say_where_it_lies(
  librispeech, covost2, cvss, fleurs, voxpopuli
):
  files = {"pair": "fr_en", "common_voice": str(covost2)}
  for found in (
    corpora.librispeech(str(librispeech)),
    corpora.covost2(str(covost2), pair="fr_en"),
    corpora.cvss(str(cvss), **files),
    corpora.fleurs(str(fleurs), languages=("en_us", "fr_fr")),
    corpora.voxpopuli(str(voxpopuli), languages=("en",)),
  ):
    again = values.from_json(values.to_json(found))
    assert again == found == pickle.loads(pickle.dumps(found))
    assert told(again, "train") == told(found, "train")
    moved = dataclasses.replace(found, train=tuple(f"/moved{path}" for path in found.train))
    assert moved.fingerprint == found.fingerprint


def test_the_fingerprint_follows_the_other_languages_and_the_kind_of_words(fleurs):
  both = corpora.fleurs(str(fleurs), languages=("en_us", "fr_fr"))
  raw = corpora.fleurs(str(fleurs), languages=("en_us", "fr_fr"), raw=True)
  (fleurs / "data").rename(fleurs / "moved")
  moved = corpora.fleurs(str(fleurs / "moved"), languages=("en_us", "fr_fr"))
  put(fleurs / "moved" / "fr_fr" / "train.tsv", fleurs_row("2", "09.wav", "fr_fr"))
  other = corpora.fleurs(str(fleurs / "moved"), languages=("en_us", "fr_fr"))
  assert both.fingerprint == moved.fingerprint
  assert len({both.fingerprint, raw.fingerprint, other.fingerprint}) == 3

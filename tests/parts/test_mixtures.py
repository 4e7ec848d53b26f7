from audiopalm import layouts
from audiopalm.data import corpora
from audiopalm.parts import mixtures


def test_every_task_names_roles_its_corpus_has():
  spoken, dialogue, text = (
    corpora.Synthetic(),
    corpora.SyntheticDialogue(),
    corpora.SyntheticText(),
  )
  makers = (
    mixtures.asr, mixtures.tts, mixtures.ast, mixtures.s2st, mixtures.mt, mixtures.asr_ast,
    mixtures.chain, mixtures.continuation,
  )  # fmt: skip
  tasks = [make(spoken) for make in makers] + [mixtures.dialogue(dialogue), mixtures.text(text)]
  assert [task.name for task in tasks] == [
    "asr", "tts", "ast", "s2st", "mt", "asr_ast", "chain", "continuation", "dialogue", "text",
  ]  # fmt: skip
  for task in tasks:
    assert {role for role, _ in task.sides} <= set(task.corpus.roles)


def test_speech_is_always_generated_in_the_canonical_voice():
  for make in (mixtures.tts, mixtures.s2st, mixtures.chain):
    assert make(corpora.Synthetic()).outputs[-1] == ("target", "units")


def test_tts_speaks_the_source_where_a_corpus_has_no_other():
  task = mixtures.tts(corpora.SpokenDigit(), role="source")
  assert task.sides == (("source", "text"), ("source", "units")) and task.tag == "[TTS {source}]"


def test_speech_is_read_and_written_in_the_stream_named():
  assert mixtures.tts(corpora.Synthetic(), speech="codes").outputs == (("target", "codes"),)
  assert mixtures.s2st(corpora.Synthetic(), speech="codes").sides == (
    ("source", "codes"), ("target", "codes"),
  )  # fmt: skip


def test_instructions_name_the_roles_of_their_tag():
  corpus = corpora.Synthetic(languages=("en", "fr"))
  for name in mixtures.INSTRUCTIONS:
    task = mixtures.paraphrased(getattr(mixtures, name)(corpus))
    assert len(set(task.paraphrases)) == len(task.paraphrases) >= 2
    languages = {"source": "en", "target": "fr"}
    asked = [layouts.tag_of(task, languages, n) for n in range(1, len(task.paraphrases) + 1)]
    named = {word for word in ("English", "French") if word in layouts.tag_of(task, languages)}
    assert all({word for word in ("English", "French") if word in text} == named for text in asked)


def test_blend_keeps_order_rates_and_temperature():
  corpus = corpora.Synthetic()
  mixture = mixtures.blend((mixtures.asr(corpus), 0.4), (mixtures.mt(corpus), 0.1), temperature=2.0)
  assert [task.name for task, _ in mixture.tasks] == ["asr", "mt"]
  assert abs(mixture.shares[0] - 2 / 3) < 1e-12

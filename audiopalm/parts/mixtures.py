"""Tasks for configs, each over a corpus, and the mixture of them.

Roles name the utterances of a record: `source` is the input, `target` its translation in the
canonical voice of its language; a dialogue has `question` and `answer`. `speech` names the stream
of speech in and out; language pairs in `unseen_pairs`, such as "de-fr", are left out of the task's
training, though other tasks may translate them (`types.Task`). Tags, the task and its languages,
are plain text before each example, as in AudioPaLM (arXiv:2306.12925, section 3.4).
"""

import dataclasses
from typing import Literal

from audiopalm.data.mixtures import Mixture
from audiopalm.types import WAVE, Task
from audiopalm.types import CorpusSettings as Corpus

Strings = tuple[str, ...]

TAGS = {
  "asr": "[ASR {source}]",
  "ast": "[AST {source} {target}]",
  "s2st": "[S2ST {source} {target}]",
  "tts": "[TTS {target}]",
  "mt": "[MT {source} {target}]",
  "asr_ast": "[ASR AST {source} {target}]",
  "chain": "[ASR AST S2ST {source} {target}]",
  "continuation": "[CONTINUE {source}]",
  "dialogue": "[DIALOGUE {question}]",
  "text": "[TEXT {source}]",
}
# The pieces of tags other than names of languages.
TAG_WORDS = (*dict.fromkeys(w for tag in TAGS.values() for w in tag.split() if "{" not in w), "]")

# Instructions that replace tags; AudioPaLM found them as good as tags.
INSTRUCTIONS = {
  "asr": (
    "Transcribe the following {source} speech:",
    "Write down what is said in {source}:",
    "What does this {source} recording say?",
  ),
  "tts": (
    "Read this {target} text aloud:",
    "Speak the following {target} sentence:",
    "Say in {target}:",
  ),
  "ast": (
    "Translate this {source} speech into {target} text:",
    "Write in {target} what is said in {source}:",
    "What does this {source} recording mean in {target}?",
  ),
  "s2st": (
    "Translate this {source} speech into spoken {target}:",
    "Say in {target} what is said in {source}:",
    "Interpret from {source} to {target}:",
  ),
  "mt": (
    "Translate this {source} text into {target}:",
    "Write in {target} what this says in {source}:",
    "How would one say this {source} sentence in {target}?",
  ),
  "asr_ast": (
    "Transcribe this {source} speech, then translate it into {target}:",
    "Write down what is said in {source}, and what it means in {target}:",
  ),
  "chain": (
    "Transcribe this {source} speech, translate it into {target} and say it in {target}:",
    "Write down what is said in {source} and what it means in {target}, then speak that:",
  ),
}


def speech(corpus: Corpus, role: str = "source", streams: Strings = ()) -> Task:
  """Returns the task "speech" for `data=Clips(...)`: waves of recordings, and those `streams` of
  their records that are cut to the same span."""
  outputs = ((role, WAVE), *((role, stream) for stream in streams))
  return Task("speech", corpus, "", (), outputs)


def recordings(corpora: tuple[Corpus, ...], streams: Strings = ()) -> Mixture:
  """Returns the mixture of a task `speech` for each corpus of `corpora.recordings`: "speech" alone,
  or "speech_spoken_digit", 5 % of what is heard, and "speech_manifest"."""
  tasks = [speech(corpus, streams=streams) for corpus in corpora]
  if len(tasks) == 1:
    return blend((tasks[0], 1.0))
  digits, listed = (dataclasses.replace(t, name=f"speech_{t.corpus.name}") for t in tasks)
  return blend((digits, 0.05), (listed, 0.95))


def asr(corpus: Corpus, speech: str = "units") -> Task:
  """Returns the task "asr": speech to its transcript."""
  return Task("asr", corpus, TAGS["asr"], (("source", speech),), (("source", "text"),))


def tts(corpus: Corpus, speech: str = "units", role: str = "target") -> Task:
  """Returns the task "tts": text to speech, by default of the target, in its canonical voice.

  For a corpus without translations, which has only a source, use tts(corpus, role="source").
  """
  tag = TAGS["tts"].replace("target", role)
  return Task("tts", corpus, tag, ((role, "text"),), ((role, speech),))


def ast(corpus: Corpus, speech: str = "units", unseen_pairs: Strings = ()) -> Task:
  """Returns the task "ast": speech to text in another language."""
  sides = (("source", speech),), (("target", "text"),)
  return Task("ast", corpus, TAGS["ast"], *sides, unseen_pairs=unseen_pairs)


def s2st(corpus: Corpus, speech: str = "units", unseen_pairs: Strings = ()) -> Task:
  """Returns the task "s2st": speech to speech in another language."""
  sides = (("source", speech),), (("target", speech),)
  return Task("s2st", corpus, TAGS["s2st"], *sides, unseen_pairs=unseen_pairs)


def mt(corpus: Corpus, unseen_words: Strings = (), unseen_pairs: Strings = ()) -> Task:
  """Returns the task "mt": text to text in another language.

  Sentences with one of `unseen_words` are left to the other tasks; the evaluation's row "new words"
  measures whether words learned from speech only are then translated in text.
  """
  sides = (("source", "text"),), (("target", "text"),)
  unseen = {"unseen_words": unseen_words, "unseen_pairs": unseen_pairs}
  return Task("mt", corpus, TAGS["mt"], *sides, **unseen)


def asr_ast(corpus: Corpus, speech: str = "units", unseen_pairs: Strings = ()) -> Task:
  """Returns the task "asr_ast": speech to its transcript, then its translation, in one output.

  The translation sees the transcript (AudioPaLM, section 3.4.1: combined tasks).
  """
  sides = (("source", speech),), (("source", "text"), ("target", "text"))
  return Task("asr_ast", corpus, TAGS["asr_ast"], *sides, unseen_pairs=unseen_pairs)


def chain(corpus: Corpus, speech: str = "units", unseen_pairs: Strings = ()) -> Task:
  """Returns the task "chain": speech to its transcript, its translation, and that as speech.

  Each output sees those before it (AudioPaLM, section 3.4.1: combined tasks).
  """
  sides = (("source", speech),), (("source", "text"), ("target", "text"), ("target", speech))
  return Task("chain", corpus, TAGS["chain"], *sides, unseen_pairs=unseen_pairs)


def continuation(corpus: Corpus, speech: str = "units") -> Task:
  """Returns the task "continuation": speech alone, predicted from its own beginning."""
  return Task("continuation", corpus, TAGS["continuation"], (), (("source", speech),))


def interleaved(corpus: Corpus, speech: str = "units", role: str = "source") -> Task:
  """Returns the task "interleaved": text and speech of one utterance, alternating by the layout
  `Interleaving`. Its corpus must have the times of words."""
  outputs = ((role, "text"), (role, speech))
  tag = TAGS["continuation"].replace("source", role)
  return Task("interleaved", corpus, tag, (), outputs)


def dialogue(corpus: Corpus, speech: str = "units") -> Task:
  """Returns the task "dialogue": a spoken question to its spoken answer, in one language."""
  sides = (("question", speech),), (("answer", speech),)
  return Task("dialogue", corpus, TAGS["dialogue"], *sides)


def text(corpus: Corpus) -> Task:
  """Returns the task "text": text alone, predicted from its own beginning."""
  return Task("text", corpus, TAGS["text"], (), (("source", "text"),))


def paraphrased(task: Task) -> Task:
  """Returns the task with the `INSTRUCTIONS` of its name as paraphrases of its tag.

  KeyError if there are none: use `dataclasses.replace(task, paraphrases=...)` with your own.
  """
  return dataclasses.replace(task, paraphrases=INSTRUCTIONS[task.name])


def blend(
  *tasks: tuple[Task, float],
  temperature: float = 1.0,
  unit: Literal["tokens", "examples"] = "tokens",
) -> Mixture:
  """Returns the mixture of (task, rate) pairs: blend((asr(corpus), 0.5), (tts(corpus), 0.5))."""
  return Mixture(tasks, temperature, unit)

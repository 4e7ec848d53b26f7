"""Utterances of the corpora that are spoken."""

from audiopalm.audio import waveform
from audiopalm.data import corpora, takes
from audiopalm.data_pipelines.speech import voices
from audiopalm.types import Utterance


def say(
  settings: corpora.Voiced, text: str, language: str, voice: str, *, record: str, role: str
) -> Utterance:
  """Returns the text as that voice says it, for a role of the record of that id.

  The first role is heard; others are answers. Words have times where the synthesizer gives them.
  """
  speaker = voices.speaker(settings.synthesizer, language, voice)
  if settings.takes is None:
    spoken = speaker.speak(text)
  else:
    key = f"{settings.seed} {record} {role}"
    take = takes.draw(settings.takes, text, key, answer=role != settings.roles[0])
    spoken = takes.record(take, [speaker.speak(phrase) for phrase in take.phrases])
  return Utterance(spoken.wave_S, waveform.RATE_HZ, text, language, voice, spoken.words)

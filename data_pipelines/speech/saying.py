"""Synthesized utterances of a corpus."""

from audiopalm.audio import waveform
from audiopalm.data import corpora, takes
from audiopalm.data_pipelines.speech import voices
from audiopalm.types import Utterance


def say(
  settings: corpora.Voiced | corpora.SpokenSentences,
  text: str,
  language: str,
  voice: str,
  *,
  record: str,
  role: str,
) -> Utterance:
  """Returns the text spoken by a voice, for a role of the record with this id.

  Roles other than the first are answers. Words and phones have times if the synthesizer gives them.
  """
  speaker = voices.speaker(settings.synthesizer, language, voice)
  if settings.takes is None:
    speech = speaker.speak(text)
  else:
    key = f"{settings.seed} {record} {role}"
    take = takes.draw(settings.takes, text, key, answer=role != settings.roles[0])
    speech = takes.record(take, [speaker.speak(phrase) for phrase in take.phrases])
  return Utterance(
    speech.wave_S, waveform.RATE_HZ, text, language, voice, speech.words, (), speech.phones
  )

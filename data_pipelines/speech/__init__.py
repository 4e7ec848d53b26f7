"""Speech synthesis for corpora of text: every synthesizer runs in a process of its own.

The processes are `espeak`, `pico` and `piper`, built on `serving`; `audiopalm.servers` asks them.
`speakers` and `voices` define the voices, `saying` makes utterances.
"""

"""Speech synthesis for corpora of text: every synthesizer runs in a process of its own.

The processes are `espeak`, `pico` and `piper`, built on `serving`; `audiopalm.servers` calls them.
`speakers` and `voices` define the voices, `saying` makes utterances.
"""

"""Speech for the corpora that are spoken: each synthesizer is a process of its own.

`client` talks to these processes, `serving` is what they share; `espeak`, `pico` and `piper` are
they. `speakers` and `voices` say who sounds how, `saying` makes utterances.
"""

"""Recorded sentences in four languages: recognition, translation, synthesis and dialogue.

  audiopalm train real_speech --workdir runs/real --set data_dir=DATA

docs/real_speech.md says what lies in DATA: English of learners (so762), a German and a Dutch voice
(kerstin, nathalie), and what actors say in Czech and Dutch (fillets). Their dev files are the test
split. Captions that a synthesizer speaks are further English to recognize. `--set
units=neural:FOLDER` takes units of a published encoder, `window_s` shortens Whisper's window.
"""

from dataclasses import replace

from audiopalm import config as c


def files(folder: str, *names: str) -> dict[str, tuple[str, ...]]:
  splits = {"train": "train.jsonl", "test": "dev.jsonl"}
  return {split: tuple(f"{folder}/{name}{end}" for name in names) for split, end in splits.items()}


def experiment(
  data_dir: str, units: str = "mfcc", window_s: float | None = None, captions: int = 8_000
) -> c.Experiment:
  m, manifest, fillets = c.mixtures, c.corpora.manifest, f"{data_dir}/fillets"
  learners = manifest(**files(f"{data_dir}/so762", ""), name="so762", variants=3)
  kerstin = manifest(**files(f"{data_dir}/kerstin", ""), name="kerstin")
  nathalie = manifest(**files(f"{data_dir}/nathalie", ""), name="nathalie")
  lines = manifest(**files(fillets, "ast."), name="fillets")
  pairs = manifest(**files(fillets, "s2st."), name="pairs")
  talks = c.corpora.dialogues(**files(fillets, "dialogues.cs.", "dialogues.nl."))
  spoken = c.corpora.SpokenSentences(
    name="captions", file=f"{data_dir}/multi30k/train.en.gz", language="en", plain=True,
    train_records=captions, synthesizer="espeak",
  )  # fmt: skip
  mfcc = c.tokenizers.units(size=512, rate_hz=25)
  options = {"size": 512, "rate_hz": 25, "window_s": window_s}
  return c.Experiment(
    name="real_speech",
    tokenizers=(c.tokenizers.text(size=800), c.tokenizers.named_units(units, mfcc, **options)),
    mixture=m.blend(
      (replace(m.asr(learners), name="asr_so762"), 0.26),
      (replace(m.asr(spoken), name="asr_captions"), 0.2),
      (replace(m.asr(lines), name="asr_fillets"), 0.12),
      (replace(m.asr(kerstin), name="asr_kerstin"), 0.08),
      (replace(m.asr(nathalie), name="asr_nathalie"), 0.05),
      (replace(m.tts(kerstin, role="source"), name="tts_kerstin"), 0.06),
      (replace(m.tts(nathalie, role="source"), name="tts_nathalie"), 0.03),
      (m.ast(lines), 0.08),
      (m.s2st(pairs), 0.08),
      (m.dialogue(talks), 0.04),
    ),
    model=c.models.tiny(width=256, dropout=0.2),
    objective=c.NextToken(text_weight=4.0, hidden_speech=0.15, hidden_text=0.1),
    optimizer=c.optim.muon(peak_lr=3e-3, warmup_steps=150),
    data=c.Packed(row_length=768, batch_rows=8, too_long="drop"),
    steps=3_200,
    checkpoint_every_steps=250,
    export=None,
  )

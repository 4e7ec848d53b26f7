"""Text to speech with eight codes per frame: codebook q is in column q, delayed by q rows.

  audiopalm train delayed --workdir runs/delayed
  audiopalm generate --workdir runs/delayed --task tts --language en --text "good day" --out o.wav

TTS on the quickstart's sentences, delayed as in MusicGen (arXiv:2306.05284, section 2.2). With
`--set columns=flat` all codes are in one column, which takes eight times as many rows. With
`--set columns=depth` all codes of a frame are in one row, and a small transformer over the columns
predicts each from those before it (UniAudio, arXiv:2310.00704; Moshi, arXiv:2410.00037).

`--set codec=lyra --set folder=DIR` uses SoundStream's codes; DIR is lyra/model_coeffs of Lyra V2
(github.com/google/lyra). No task transcribes, so `evaluate` only has likelihoods and distances.
"""

from typing import Literal

from audiopalm import config as c

CODEBOOKS = 8
# Layout rule, depth head, row length and rows of a step; a step has about the same speech in each.
COLUMNS = {
  "delayed": (c.Chain(delays=(("codes", tuple(range(CODEBOOKS))),)), None, 256, 8),
  "depth": (c.Chain(delays=(("codes", (0,) * CODEBOOKS),)), c.models.depth_head(), 256, 8),
  "flat": (c.Chain(), None, 2_048, 6),
}


def experiment(
  columns: Literal["delayed", "flat", "depth"] = "delayed",
  codec: Literal["mel_rvq", "lyra"] = "mel_rvq",
  folder: str = "",
  train_records: int = 3_000,
  validation_records: int = 200,
  test_records: int = 600,
  synthesizer: Literal["pico", "espeak"] = "pico",
) -> c.Experiment:
  corpus = c.corpora.Synthetic(
    languages=("en", "fr"), topics=("prices",), train_records=train_records,
    validation_records=validation_records, test_records=test_records, synthesizer=synthesizer,
  )  # fmt: skip
  layout, head, row_length, batch_rows = COLUMNS[columns]
  codecs = {
    "mel_rvq": c.tokenizers.mel_rvq(codebooks=CODEBOOKS, size=256, rate_hz=25),
    "lyra": c.tokenizers.lyra(folder, levels=2 * CODEBOOKS, levels_per_code=2),
  }
  return c.Experiment(
    name="delayed",
    tokenizers=(c.tokenizers.text(size=512), codecs[codec]),
    mixture=c.mixtures.blend((c.mixtures.tts(corpus, speech="codes"), 1.0)),
    layout=layout,
    model=c.models.tiny(width=192, depth_head=head),
    optimizer=c.optim.adamw(peak_lr=2.5e-3, warmup_steps=80),
    evaluation=c.Evaluation(200, held_out_batch_rows=16, examples=100, max_output_rows=row_length),
    data=c.Packed(row_length=row_length, batch_rows=batch_rows),
    steps=1_000,
    checkpoint_every_steps=400,
    export={"mel_rvq": "auto", "lyra": None}[codec],  # Lyra's networks only run in LiteRT
  )

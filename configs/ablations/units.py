r"""Units of one speech tokenizer, learned by a text model: AudioPaLM's table 7 (arXiv:2306.12925).

  audiopalm train configs/ablations/units.py --workdir runs/mfcc --set text_lm=runs/text

ASR and direct AST on six topics of the grammar, as in speech.py, from recordings in which
tokenizers differ: twelve voices, pauses, levels, noise, and a test with four voices a language that
no training has heard. A unit lasts 40 ms, as in the paper, and repetitions are kept, so sequences
of all tokenizers have the same length, and every step the same examples. `units` is "mfcc" or
"neural:FOLDER", with the `layer` of the encoder; `window_s` shortens Whisper's window.
"""

from audiopalm import config as c

TOPICS = ("times", "weather", "shopping", "travel", "food", "home")
TAKES = c.Takes(snr_db=(5.0, 25.0))


def experiment(
  text_lm: str,
  units: str = "mfcc",
  layer: int | None = None,
  window_s: float | None = None,
  train_records: int = 4_000,
  test_records: int = 600,
) -> c.Experiment:
  speech = c.corpora.Synthetic(
    topics=TOPICS, train_records=train_records, validation_records=200, test_records=test_records,
    synthesizer="espeak", voices=12, held_out_voices=4, takes=TAKES,
  )  # fmt: skip
  shape = {"size": 256, "rate_hz": 25.0, "fit_s": 1_200.0}
  mfcc = c.tokenizers.units(**shape)
  return c.Experiment(
    name="units",
    tokenizers=(
      c.tokenizers.pretrained(text_lm),
      c.tokenizers.named_units(units, mfcc, layer=layer, window_s=window_s, **shape),
    ),
    warm_start=c.WarmStart(text_lm),
    mixture=c.mixtures.blend(
      (c.mixtures.asr(speech), 1.0), (c.mixtures.ast(speech), 1.0), unit="examples"
    ),
    model=c.models.pretrained(text_lm),
    optimizer=c.optim.adamw(peak_lr=5e-4, warmup_steps=100),
    evaluation=c.Evaluation(every_steps=250, held_out_batch_rows=16, max_output_rows=64),
    data=c.Packed(row_length=512, batch_rows=4),
    steps=1_200,
    checkpoint_every_steps=250,
    export=None,
  )

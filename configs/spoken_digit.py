"""Human speech: digits spoken by five people, one of whom is held out of training.

  audiopalm train spoken_digit --workdir runs/digits_theo \\
      --set held_out_speaker=theo --set data_dir=$TFDS_DATA_DIR

Training takes four to seven minutes on two CPU cores; 86.8 % of theo's 500 recordings were then
recognized.

The data are the Free Spoken Digit Dataset through TFDS (CC BY-SA 4.0, 2,500 recordings at 8 kHz).
Without `data_dir` TFDS uses its default folder, and downloads the data. Each training recording is
also played at other speeds, so that four speakers sound like more (Ko et al., Interspeech 2015).
`exact %` of the held-out voice in the output of `audiopalm evaluate` is its digit accuracy.
`--set units=neural:FOLDER --set export=none` uses units of a published speech encoder
(docs/tokenizers.md).
"""

from audiopalm import config as c


def experiment(
  held_out_speaker: str | None = "theo", data_dir: str | None = None, units: str = "mfcc"
) -> c.Experiment:
  corpus = c.corpora.SpokenDigit(data_dir=data_dir, held_out_speaker=held_out_speaker, variants=8)
  return c.Experiment(
    name="spoken_digit",
    tokenizers=(
      c.tokenizers.text(size=320),
      # Telephone band, single words, few speakers: too little to estimate vocal tract lengths.
      c.tokenizers.named_units(
        units,
        c.tokenizers.units(
          size=256, rate_hz=50, warps=1, high_hz=3_800.0, floor_db=40.0, coefficients=13
        ),
      ),
    ),
    mixture=c.mixtures.blend((c.mixtures.asr(corpus), 1.0)),
    model=c.models.tiny(width=192, dropout=0.2),
    optimizer=c.optim.adamw(peak_lr=2e-3, warmup_steps=50),
    evaluation=c.Evaluation(every_steps=100, held_out_batch_rows=16, examples=500),
    data=c.Packed(row_length=256, batch_rows=8),
    steps=350,
    checkpoint_every_steps=200,
  )

"""A run to export: tokenizers fitted on sentences and made-up sounds, parameters drawn by numpy."""

import dataclasses
import functools
import types
from pathlib import Path

import jax
import numpy as np

from audiopalm import layouts, sharding
from audiopalm.audio import vocoder
from audiopalm.batch import PackedBatch
from audiopalm.data import corpora, prepare
from audiopalm.data_pipelines.synthetic import grammar
from audiopalm.experiment import Experiment
from audiopalm.exports import folder
from audiopalm.models import decoder
from audiopalm.objectives import next_token
from audiopalm.parts import mixtures, models, tokenizers
from audiopalm.settings import Evaluation, Machine
from audiopalm.tokens import space as token_space
from audiopalm.types import StreamSpec, Task, Utterance

CORPUS = corpora.Synthetic(languages=("en", "fr", "de"), voices=1)
ONE = Machine(name="one", data=1, fsdp=1, tensor=1)
TINY = decoder.Decoder(layers=3, width=32, heads=4, kv_heads=2, head_width=8, hidden=48)
PHONES = np.random.default_rng(7).uniform(0, 1, (12, 3))


@functools.cache
def sentences(language: str, count: int) -> tuple[str, ...]:
  """Returns sentences of the grammar, no two of one meaning."""
  chosen = grammar.meanings(corpora.TOPICS, "train", "export")
  step = len(chosen) // count
  return tuple(grammar.texts(language, int(number))[0] for number in chosen[::step][:count])


def said(seed: int, speaker: str = "en-anna") -> Utterance:
  """Returns an utterance of 8 to 23 phones: spectra with three hills."""
  random = np.random.default_rng(seed)
  phones = random.integers(len(PHONES), size=random.integers(8, 24))
  tract, pitch_hz = {"en-anna": (1.1, 200.0), "fr-alice": (0.95, 120.0)}[speaker]
  hills_P = (np.array([[400, 1_300, 2_800]]) + PHONES[phones] * [[400, 1_200, 1_200]]) * tract
  centers_hz = np.geomspace(100, 7_500, 40)
  heights_PM = np.exp(-18 * np.log(hills_P[:, :, None] / centers_hz) ** 2).sum(axis=1)
  log_mel_TM = np.repeat(6 * heights_PM - 9, 9, axis=0).astype(np.float32)
  count = len(log_mel_TM)
  wave_S = vocoder.sound(
    log_mel_TM, vocoder.excitation(np.full(count, pitch_hz), np.full(count, 0.9))
  )
  return Utterance(wave_S / np.abs(wave_S).max() / 2, 16_000, "la la", "en", speaker)


@functools.cache
def fitted():
  """Returns {stream: fitted tokenizer}: text of three languages, 32 units."""
  texts = [text for language in CORPUS.languages for text in sentences(language, 300)]
  spoken = [said(seed, ("en-anna", "fr-alice")[seed % 2]) for seed in range(40)]
  settings = tokenizers.text(size=512), tokenizers.units(size=32)
  heard = [Utterance(None, 16_000, text, "en", "") for text in texts]
  return {"text": settings[0].fit(heard, 0), "units": settings[1].fit(spoken, 0)}


def experiment(model=None) -> Experiment:
  return Experiment(
    name="small",
    tokenizers=(tokenizers.text(size=512), tokenizers.units(size=32)),
    mixture=mixtures.blend(
      *((task(CORPUS), 1.0) for task in (mixtures.asr, mixtures.mt, mixtures.tts, mixtures.chain))
    ),
    model=model or models.tiny(width=64, layers=2),
    evaluation=Evaluation(max_output_rows=64),
  )


def run(model=None):
  """Returns (ExportedRun, Prepared) of a run whose every parameter is random, norms too."""
  made = experiment(model)
  prepared = prepare.laid_out(made, Path("run"), Path("run/streams"), fitted())
  longest = {
    task.name: {".".join(side): 100 + 50 * (side[1] == "units") for side in task.sides}
    for task in made.tasks
  }
  arrays = params(made.model.build(prepared.space))
  return folder.ExportedRun(made, fitted(), prepared.manifest, arrays, 7, longest), prepared


def params(model, seed: int = 0):
  """Returns random parameters as numpy arrays."""
  random = np.random.default_rng(seed)

  def draw(path, shape):
    spread = 0.3 if path[-1].key in ("table", "scale") else 0.15
    values = random.normal(0, spread, shape.shape) + (path[-1].key == "scale")
    return values.astype(shape.dtype)

  return jax.tree_util.tree_map_with_path(draw, model.shapes(sharding.mesh(ONE)))


@dataclasses.dataclass(frozen=True)
class Delayed:
  """A rule: text in, codes out, column q delays[q] rows late."""

  delays: tuple[int, ...]

  def layout_of(self, task: Task):
    tags = tuple(layouts.tag_of(task, pair) for pair in CORPUS.pairs(("target",)))
    return layouts.Concat(
      layouts.Tag(task.tag, tags),
      layouts.Given(layouts.Flat("target.text")),
      layouts.Delay("target.codes", self.delays),
      layouts.Stop(),
    )


def delayed(columns: int = 8, delays: tuple[int, ...] | None = None):
  """Returns (experiment, prepared) of a run on several columns, as far as an export looks."""
  sides = (("target", "text"),), (("target", "codes"),)
  task = Task("tts", CORPUS, "[TTS {target}]", *sides)
  specs = (
    StreamSpec("text", "text", (60,), None, "made-up text"),
    StreamSpec("codes", "speech", (20,) * columns, 50.0, "made-up codes"),
  )
  rule = Delayed(tuple(range(columns)) if delays is None else delays)
  found = {task.name: rule.layout_of(task)}
  space = token_space.build(specs, found, lambda tag: [ord(c) % 60 for c in tag[5:9]], pad_to=16)
  made = types.SimpleNamespace(
    tasks=(task,), layout=rule, evaluation=Evaluation(max_output_rows=64), model=TINY
  )
  tokenizers = {"codes": types.SimpleNamespace(voices=())}
  return made, types.SimpleNamespace(space=space, layouts=found, tokenizers=tokenizers)


def logits(model, arrays, tokens_BLK, visible_BL=None):
  """Returns our logits of each column, [B, L, padded V], with exact products."""
  tokens_BLK = np.asarray(tokens_BLK, np.int32)
  shape = tokens_BLK.shape[:2]
  positions_BL = np.tile(np.arange(shape[1], dtype=np.int32), (shape[0], 1))
  visible_BL = np.zeros(shape, np.int32) if visible_BL is None else np.asarray(visible_BL, np.int32)
  arrays = jax.tree.map(jax.numpy.asarray, arrays)
  ones_BL = np.ones(shape, np.int32)
  batch = PackedBatch(tokens_BLK, None, ones_BL, positions_BL, visible_BL, None)
  with jax.default_matmul_precision("highest"):
    hidden = model.hidden(arrays, batch, ONE)
    targets = next_token.shifted(dataclasses.replace(batch, weights_BLK=0 * tokens_BLK))
    states = model.head.states(arrays, hidden, targets.tokens_BLK, ONE)
    return [np.asarray(model.head.logits(arrays, x_BLD, k)) for k, x_BLD in enumerate(states)]

import dataclasses
import functools
import io
import shutil

import jax
import numpy as np
import pytest

from audiopalm import pretrained, runs, sharding
from audiopalm.data import loader
from audiopalm.errors import ConfigError
from audiopalm.nn import lora
from audiopalm.objectives import next_token
from audiopalm.parts import mixtures, models, tokenizers
from audiopalm.settings import Machine, WarmStart
from audiopalm.tokenizers.text import SentencePieceText
from audiopalm.tokens import space as token_space
from audiopalm.training import checkpoint, warm_start

TEXT, SPECIALS = 40, 2  # ids of the text run: its pieces, sep and stop


@pytest.fixture(scope="module", params=["tied", pytest.param("untied", marks=pytest.mark.long)])
def text_run(request, tiny, tmp_path_factory):
  """Returns (workdir, experiment) of a run that was trained on text alone."""
  workdir = tmp_path_factory.mktemp(request.param)
  made = tiny.experiment(
    tokenizers=(SentencePieceText(),), mixture=mixtures.blend((mixtures.mt(tiny.CORPUS), 1.0))
  )
  made = dataclasses.replace(
    made, model=dataclasses.replace(made.model, tied=request.param == "tied")
  )
  tiny.run(workdir, made)
  return workdir, made


def opened(tiny, text_run):
  """Returns (model, parameters, space) of the text run."""
  workdir, made = text_run
  space = tiny.Prepared(made).space
  model = made.model.build(space)
  shapes = model.shapes(sharding.mesh(tiny.ONE))
  expected = checkpoint.Expected(shapes, {}, token_space.manifest(space))
  params, _, _ = checkpoint.restore_model(workdir, lambda meta: expected)
  return model, params, space


def begun(tiny, text_run, machine=None, **options):
  """Returns (model, parameters, space) of a run of text and speech before its first step."""
  workdir, made = text_run
  space = tiny.Prepared(tiny.experiment()).space
  model = made.model.build(space)
  mesh = sharding.mesh(machine or tiny.ONE)
  with jax.set_mesh(mesh):
    settings = WarmStart(str(workdir), **options)
    params = warm_start.params(settings, model, space, jax.random.key(1), mesh, lambda text: None)
  return model, params, space


def text_batch(tiny, space):
  made = tiny.experiment(mixture=mixtures.blend((mixtures.mt(tiny.CORPUS), 1.0)))
  prepared = tiny.Prepared(made)
  assert token_space.text_stream(prepared.space.streams) == token_space.text_stream(space.streams)
  return loader.Loader(prepared, made).batch_at(0)


@functools.partial(jax.jit, static_argnums=(0, 3))
def logits_of(model, params, batch, machine):
  return model.head.logits(params, model.hidden(params, batch, machine))


def test_layers_and_known_rows_are_the_same_bytes(tiny, text_run):
  _, old, _ = opened(tiny, text_run)
  _, new, space = begun(tiny, text_run)
  for name in ("layers", "norm"):
    jax.tree.map(np.testing.assert_array_equal, old[name], new[name])
  for name in {"embed", "head"} & set(old):
    before, after = np.asarray(old[name]["table"]), np.asarray(new[name]["table"])
    assert after.shape == (space.padded[0], 16)
    np.testing.assert_array_equal(after[: TEXT + SPECIALS], before[: TEXT + SPECIALS])
    assert not after[TEXT + SPECIALS :].any()
  assert set(new) == set(old)


def test_text_is_as_likely_among_text_as_before(tiny, text_run):
  likelihoods = []
  for model, params, space in (opened(tiny, text_run), begun(tiny, text_run)):
    batch = text_batch(tiny, space)
    among = logits_of(model, params, batch, tiny.ONE)[..., :TEXT]
    likelihoods.append(np.asarray(jax.nn.log_softmax(among, axis=-1)))
  np.testing.assert_allclose(likelihoods[1], likelihoods[0], rtol=0, atol=1e-6)


def test_new_zero_rows_cost_what_the_formula_says(tiny, text_run):
  model, params, space = opened(tiny, text_run)
  batch = text_batch(tiny, space)
  logits = logits_of(model, params, batch, tiny.ONE)
  lse_BL = np.asarray(jax.nn.logsumexp(logits, axis=-1), np.float64)
  nll = {}
  for name, (one, arrays, _) in {
    "before": (model, params, space), "after": begun(tiny, text_run)
  }.items():  # fmt: skip
    hidden = jax.jit(one.hidden, static_argnums=2)(arrays, batch, tiny.ONE)
    targets = next_token.shifted(batch)
    (cells,) = next_token.scored(one, arrays, hidden, targets, tiny.ONE)
    nll[name] = np.asarray(cells.nll_BL, np.float64)
    counted_BL = np.asarray(cells.weight_BL) > 0
  units = 50
  expected_BL = nll["before"] + np.log1p(units * np.exp(-lse_BL))
  difference = np.abs(nll["after"] - expected_BL)[counted_BL]
  assert counted_BL.sum() > 50 and difference.max() < 1e-5
  assert (nll["after"] - nll["before"])[counted_BL].mean() > 0.1


def test_new_rows_are_the_mean_of_text_or_drawn_as_wide(tiny, text_run):
  _, old, _ = opened(tiny, text_run)
  text_TD = np.asarray(old["embed"]["table"])[:TEXT]
  _, mean, _ = begun(tiny, text_run, new_rows="mean")
  new_VD = np.asarray(mean["embed"]["table"])[TEXT + SPECIALS :]
  np.testing.assert_allclose(new_VD, np.broadcast_to(text_TD.mean(0), new_VD.shape), atol=1e-6)
  _, drawn, _ = begun(tiny, text_run, new_rows="random")
  new_VD = np.asarray(drawn["embed"]["table"])[TEXT + SPECIALS :]
  assert abs(new_VD.std() / text_TD.std() - 1) < 0.1 and abs(new_VD.mean()) < 0.1 * text_TD.std()
  assert len(np.unique(new_VD)) > 0.99 * new_VD.size


@pytest.mark.parametrize("new_rows", ["random", "mean"])
def test_many_devices_begin_with_the_same_values(tiny, text_run, new_rows):
  _, one, _ = begun(tiny, text_run, new_rows=new_rows)
  _, many, _ = begun(
    tiny, text_run, Machine(name="many", data=1, fsdp=4, tensor=2), new_rows=new_rows
  )
  jax.tree.map(np.testing.assert_array_equal, jax.device_get(one), jax.device_get(many))


def test_a_run_begins_with_them_and_resumes_without_the_folder(tiny, text_run, tmp_path):
  workdir, made = text_run
  there = shutil.copytree(workdir, tmp_path / "text")
  joint = tiny.experiment(model=made.model, warm_start=WarmStart(str(there)))
  said = io.StringIO()
  tiny.run(tmp_path / "joint", dataclasses.replace(joint, steps=4), said=said)
  text = " ".join(said.getvalue().split())
  assert "warm start: step 6 of" in text and "its rows for 42 ids; 50 new ones, zero" in text
  shutil.rmtree(there)
  tiny.run(tmp_path / "joint", joint)
  assert runs.steps(tmp_path / "joint") == [4, 6]


def test_another_model_is_refused_field_by_field(tiny, text_run):
  workdir, made = text_run
  other = dataclasses.replace(made, model=dataclasses.replace(made.model, hidden=64, dropout=0.1))
  with pytest.raises(ConfigError) as error:
    begun(tiny, (workdir, other))
  assert "  hidden: 32 there, 64 here" in str(error.value) and "dropout" not in str(error.value)
  assert "Take its model: models.pretrained(" in str(error.value)


def test_other_text_ids_are_refused(tiny, text_run, monkeypatch):
  other = (dataclasses.replace(tiny.SPECS[0], fingerprint="another"), tiny.SPECS[1])
  monkeypatch.setattr(tiny, "SPECS", other)
  with pytest.raises(ConfigError, match="has other text ids.*Take its text tokenizer"):
    begun(tiny, text_run)


def test_an_unknown_way_to_make_rows_is_refused():
  with pytest.raises(ConfigError, match="new_rows must be one of zero, random, mean, not 'ones'"):
    WarmStart("runs/text", new_rows="ones")


def test_ids_find_their_rows_wherever_they_lie(tiny):
  space = tiny.Prepared(tiny.experiment()).space
  rows_V = warm_start.earlier_rows(space, space)
  real = space.sizes[0]
  assert rows_V[:real].tolist() == list(range(real))
  assert (rows_V[real:] == warm_start.NONE).all() and len(rows_V) == space.padded[0]


def test_new_adapters_begin_as_nothing_beside_the_earlier_kernels(tiny, text_run):
  workdir, made = text_run
  adapted = dataclasses.replace(made.model, lora=lora.Lora(rank=2))
  _, old, _ = opened(tiny, text_run)
  _, new, _ = begun(tiny, (workdir, dataclasses.replace(made, model=adapted)))
  adapters = new["layers"]["attention"].pop("lora")
  jax.tree.map(np.testing.assert_array_equal, old["layers"], new["layers"])
  assert list(adapters) == ["query", "value"]
  assert not np.asarray(adapters["query"]["up"]).any()
  assert np.asarray(adapters["query"]["down"]).any()


def test_a_run_begins_with_a_text_model_of_a_hugging_face_folder(tiny, tmp_path, small_source):
  folder, rows = small_source
  settings = models.pretrained(str(folder))
  text = tokenizers.pretrained(str(folder))
  space = token_space.build(
    [text.read().spec, tiny.SPECS[1]],
    tiny.Prepared(tiny.experiment()).layouts,
    lambda tag: list(tag.encode()),
  )
  model, mesh = settings.build(space), sharding.mesh(tiny.ONE)
  with jax.set_mesh(mesh):
    params = warm_start.params(
      WarmStart(str(folder)), model, space, jax.random.key(0), mesh, lambda text: None
    )
  alone = pretrained.open(folder)
  expected = alone.params(mesh)
  jax.tree.map(np.testing.assert_array_equal, params["layers"], expected["layers"])
  table = np.asarray(params["embed"]["table"])
  np.testing.assert_array_equal(table[:rows], np.asarray(expected["embed"]["table"])[:rows])
  assert not table[rows:].any() and len(table) == space.padded[0]


def test_a_step_of_a_folder_without_checkpoints_is_refused(tiny, small_source):
  folder, _ = small_source
  with pytest.raises(ConfigError, match="warm_start.step=5 names a checkpoint of a run, but"):
    begun(tiny, (folder, tiny.experiment()), step=5)

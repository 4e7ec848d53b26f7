"""What a task is asked with and may answer: the same as our own decoding, without our code."""

import dataclasses
import json
import types

import jax
import numpy as np
import pytest

from audiopalm import layouts
from audiopalm.exports import folder, tasks
from audiopalm.inference import decode, prompting
from audiopalm.inference.sampling import Beams, Sampling
from audiopalm.layouts import incremental
from audiopalm.tokens import space as token_space


@pytest.fixture(scope="module")
def config(run):
  exported, prepared = run
  return tasks.generation_config(exported.experiment, prepared, exported.longest, plans=False)


def test_every_task_has_its_tags_by_language(config, run):
  space = run[1].space
  assert list(config["tasks"]) == ["asr", "mt", "tts", "chain"]
  assert config["tasks"]["asr"]["tags"][0] == {
    "source": "en", "tag": "[ASR English]", "ids": list(space.tag_ids("[ASR English]")),
  }  # fmt: skip
  pairs = {(tag["source"], tag["target"]): tag["tag"] for tag in config["tasks"]["mt"]["tags"]}
  assert pairs["fr", "de"] == "[MT French German]"
  assert config["tasks"]["asr"]["longest_input"]["source.units"] == 150
  assert config["tasks"]["asr"]["max_new_tokens"] == 64


def test_a_task_that_speaks_names_the_voice_of_each_language(config):
  voices = {tag["target"]: tag.get("voice") for tag in config["tasks"]["tts"]["tags"]}
  assert voices == {"en": "en-anna", "fr": "fr-alice", "de": None}
  assert all("voice" not in tag for tag in config["tasks"]["mt"]["tags"])


def test_prompts_are_templates_with_separators_where_the_layout_has_them(config):
  prompts = {name: task["prompt"] for name, task in config["tasks"].items()}
  assert prompts == {
    "asr": "{tag}{source.units}",
    "mt": "{tag}<|sep|>{source.text}<|sep|>",
    "tts": "{tag}<|sep|>{target.text}",
    "chain": "{tag}{source.units}",
  }


def test_an_output_suppresses_all_but_its_stream_and_its_end(config, run):
  space = run[1].space
  stop, sep = space.special("stop"), space.special("sep")
  text, units = space.range_of(0, "text"), space.range_of(0, "units")
  (output,) = config["tasks"]["asr"]["outputs"]
  assert output["suppress_tokens"] == [sep, *range(units[0], sum(units))]
  assert output["begin_suppress_tokens"] == output["eos_token_id"] == [stop]
  (output,) = config["tasks"]["tts"]["outputs"]
  assert output["suppress_tokens"] == [*range(text[1]), sep]
  first, second, third = config["tasks"]["chain"]["outputs"]
  assert first["stream"] == "source.text" and first["eos_token_id"] == [sep]
  assert second["eos_token_id"] == list(
    range(units[0], sum(units))
  )  # speech begins: text has ended
  assert third["stream"] == "target.units" and third["eos_token_id"] == [stop]
  assert third["begin_suppress_tokens"] is None  # the id it begins with is there already


def test_turns_and_spans_name_their_outputs_and_say_the_rest_row_by_row(run):
  prepared = run[1]
  rule = layouts.Infilling(("units",), spans=(1, 2), chain=layouts.Interleaving())
  experiment = run[0].experiment
  mixture = dataclasses.replace(experiment.mixture, tasks=experiment.mixture.tasks[:3])
  experiment = dataclasses.replace(experiment, layout=rule, mixture=mixture)
  specs = tuple(prepared.space.streams.values())
  made = {task.name: rule.layout_of(task) for task in experiment.tasks}
  encode_text = prepared.tokenizers["text"].encode_text
  space = token_space.build(specs, made, encode_text)
  prepared = types.SimpleNamespace(space=space, tokenizers=prepared.tokenizers)
  config = tasks.generation_config(experiment, prepared, run[0].longest, plans=False)
  spoken = config["tasks"]["tts"]
  assert spoken["prompt"] == "{tag}<|sep|>{target.text}<|mask1|><|mask1|>"
  assert spoken["outputs"] == [{"stream": "target.units"}] and spoken["plan"]["counted"] == "spans"
  assert config["tasks"]["asr"]["outputs"][0]["suppress_tokens"]
  named = [ids["stream"] for ids in config["classes"][0]]
  assert named[-4:] == ["stop", "mask1", "mask2", "span_end"]


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
  out = tmp_path_factory.mktemp("tasks") / "out"
  folder.write(out, *run)
  return out


def ours(small, run, task_name, streams, tag, sampling=None):
  exported, prepared = run
  task = prepared.task(task_name)
  layout = prompting.asked_layout(exported.experiment.layout, task)
  prompt = layouts.prompt(layout, streams, tag, prepared.space)
  model = exported.experiment.model.build(prepared.space)
  with jax.default_matmul_precision("highest"):
    (decoded,) = decode.decode(
      model, exported.params, [prompt], incremental.compile(layout, prepared.space),
      sampling=sampling or Sampling(), max_rows=64, key=jax.random.key(0),
      machine=small.ONE,
    )  # fmt: skip
  return prompt.tokens_LK[:, 0], decoded.tokens_LK[len(prompt) :, 0]


@pytest.mark.torch
@pytest.mark.parametrize("task", ("asr", "tts"))
def test_sixty_four_greedy_tokens_equal_ours_under_the_same_mask(task, run, exported, small):
  import torch
  import transformers

  tokenizers = run[0].tokenizers
  if task == "asr":
    given, tag = ("source.units", tokenizers["units"].encode(small.said(0))), "[ASR French]"
    said = "".join(f"<|unit_{unit}|>" for unit in given[1])
  else:
    said, tag = small.sentences("fr", 300)[0], "[TTS French]"
    given = ("target.text", np.array(tokenizers["text"].encode_text(said)))
  prompt_L, wanted_L = ours(small, run, task, dict([given]), tag)
  auto = transformers.AutoTokenizer.from_pretrained(exported)
  model = transformers.AutoModelForCausalLM.from_pretrained(exported)
  asked = model.generation_config.tasks[task]
  text = asked["prompt"].replace("{tag}", tag).replace(f"{{{given[0]}}}", said)
  inputs = auto(text, return_tensors="pt", add_special_tokens=False)
  np.testing.assert_array_equal(inputs.input_ids[0], prompt_L)
  (output,) = asked["outputs"]
  mask = {name: value for name, value in output.items() if name != "stream"}
  with torch.no_grad():
    found = model.generate(**inputs, **mask, max_new_tokens=64, do_sample=False)
  found_L = found[0, len(prompt_L) :].numpy()
  assert len(found_L) == 64
  np.testing.assert_array_equal(found_L, wanted_L)


def brief(run):
  """The run with other parameters: what ends an output comes before long."""
  head = run[0].params["head"]["table"].copy()
  text = run[1].space.range_of(0, "text")[1]
  head[text : text + 2] *= 8
  head[text + 2 :] *= 4
  return dataclasses.replace(run[0], params=run[0].params | {"head": {"table": head}}), run[1]


@pytest.mark.torch
@pytest.mark.parametrize("many", (2, 4))
def test_beams_of_transformers_find_what_ours_find(many, run, small, tmp_path):
  import torch
  import transformers

  made = brief(run)
  folder.write(tmp_path / "out", *made)
  model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out")
  (output,) = model.generation_config.tasks["asr"]["outputs"]
  mask = {name: value for name, value in output.items() if name != "stream"}
  differ = 0
  for seed in range(6):
    given = {"source.units": run[0].tokenizers["units"].encode(small.said(seed))}
    # Their penalty is another function of the length; without one the scores are the same.
    prompt_L, wanted_L = ours(small, made, "asr", given, "[ASR French]", Beams(many, 0.0))
    tokens = torch.from_numpy(prompt_L.astype(np.int64))[None]
    with torch.no_grad():
      found = model.generate(
        tokens, **mask, max_new_tokens=64, do_sample=False, num_beams=many, length_penalty=0.0,
        early_stopping=True, renormalize_logits=True,
      )  # fmt: skip
    np.testing.assert_array_equal(found[0, len(prompt_L) :].numpy(), wanted_L)
    assert len(wanted_L) < 64
    differ += ours(small, made, "asr", given, "[ASR French]")[1].tolist() != wanted_L.tolist()
  assert differ


@pytest.mark.torch
def test_outputs_of_a_chain_asked_one_after_another_equal_ours(run, small, tmp_path):
  import torch
  import transformers

  made = brief(run)
  text = run[1].space.range_of(0, "text")[1]
  folder.write(tmp_path / "out", *made)
  ids_T = run[0].tokenizers["units"].encode(small.said(1))
  prompt_L, wanted_L = ours(
    small, made, "chain", {"source.units": ids_T}, "[ASR AST S2ST French German]"
  )
  model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out")
  tokens = torch.from_numpy(prompt_L.astype(np.int64))[None]
  for output in model.generation_config.tasks["chain"]["outputs"]:
    mask = {name: value for name, value in output.items() if name != "stream"}
    with torch.no_grad():
      tokens = model.generate(tokens, **mask, max_new_tokens=64, do_sample=False)
  assert text in wanted_L and wanted_L.max() > text + 1  # all three outputs were begun
  np.testing.assert_array_equal(tokens[0, len(prompt_L) :][: len(wanted_L)].numpy(), wanted_L)


def test_the_plan_of_several_columns_is_json(small):
  experiment, prepared = small.delayed(columns=3)
  made = tasks.generation_config(experiment, prepared, {"tts": {}}, plans=True)
  plan = json.loads(json.dumps(made))["tasks"]["tts"]["plan"]
  compiled = incremental.compile(prepared.layouts["tts"], prepared.space)
  assert (plan["start"], plan["end"], plan["lead"]) == (
    compiled.start, compiled.end, compiled.lead_S.tolist(),
  )  # fmt: skip
  assert made["tasks"]["tts"]["outputs"] == [{"stream": "target.codes"}]
  classes = [[(ids["start"], ids["size"], ids["ends"]) for ids in one] for one in made["classes"]]
  assert classes[1] == [(1, 20, False), (0, 1, True)]

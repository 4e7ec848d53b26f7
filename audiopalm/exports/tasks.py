"""generation_config.json: the prompts of each task, and the ids that its outputs may contain.

    "tasks": {"asr": {
      "tags": [{"source": "en", "tag": "[ASR English]", "ids": [1, 19, 12]}, ...],
      "prompt": "{tag}{source.units}",
      "outputs": [{"stream": "source.text", "suppress_tokens": [436, 438, ...],
                   "begin_suppress_tokens": [437], "eos_token_id": [437]}],
      "longest_input": {"source.units": 180}, "max_new_tokens": 256}}

If a task has speech output, each tag has the "voice" that `audiopalm generate` uses by default.

With one column, `model.generate(prompt, **options)` with the three options of an output appends it:
the ids of its stream, then the id that ends it. A task with several outputs generates them in
order, each from the prompt and all earlier outputs. For `torch_decoder.py`, and for layouts that
alternate parts or fill spans, "plan" and "classes" specify the same row by row, for any number of
columns; the outputs of such a task have only names. "counted": "spans" means that `frames` is the
number of spans in the prompt.
"""

from collections.abc import Mapping
from typing import Any

from audiopalm import layouts
from audiopalm.data.prepared import Prepared
from audiopalm.experiment import Experiment
from audiopalm.inference import prompting
from audiopalm.layouts import cells, incremental, placing
from audiopalm.layouts.cells import Part
from audiopalm.tokens.space import TokenSpace
from audiopalm.types import Task

FILE = "generation_config.json"


def generation_config(
  experiment: Experiment, prepared: Prepared, longest: Mapping[str, Mapping[str, int]], plans: bool
) -> dict[str, Any]:
  """Returns the generation config. `longest` has each task's longest input by stream, in frames;
  `plans` is whether the model needs "plan" and "classes" for every task."""
  space = prepared.space
  stop = space.special("stop")
  plans = plans or any(
    _takes_turns(placing.place(prompting.asked_layout(experiment.layout, task), space))
    for task in experiment.tasks
  )
  config = {
    "eos_token_id": stop,
    "pad_token_id": stop,
    "do_sample": False,
    "tasks": {
      task.name: _task(experiment, task, prepared, plans)
      | {"longest_input": dict(sorted(longest[task.name].items()))}
      for task in experiment.tasks
    },
  }
  return config | ({"classes": _classes(space)} if plans else {})


def _task(experiment: Experiment, task: Task, prepared: Prepared, plans: bool) -> dict[str, Any]:
  layout, space = prompting.asked_layout(experiment.layout, task), prepared.space
  config = {
    "tags": _tags(task, layout, prepared),
    "inputs": list(layouts.given_streams(layout)),
    "max_new_tokens": experiment.evaluation.max_output_rows,
  }
  placement = placing.place(layout, space)
  pieces = placing.asked_pieces(placement, {}, None)
  blocks = [placement.blocks[piece.block] for piece in pieces]
  if all(len(block.columns) == 1 for block in blocks):
    config["prompt"] = "".join(map(_template, blocks))
  if space.columns == 1 and not _takes_turns(placement):
    config["outputs"] = _outputs(placement, space)
  else:
    config["outputs"] = [{"stream": name} for name in layouts.predicted_streams(layout)]
  return config | ({"plan": _plan(layout, space)} if plans else {})


def _tags(task: Task, layout: Part, prepared: Prepared) -> list[dict[str, Any]]:
  """Returns every tag with its language codes by role, its ids, and the voice of speech output."""
  if not layout.tag_strings():
    return []
  tags = []
  for languages in task.corpus.pairs(task.roles):
    tag = layouts.tag_of(task, languages)
    voice = _voice(task, languages, prepared)
    spoken = {} if voice is None else {"voice": voice}
    tags.append({**languages, "tag": tag, "ids": list(prepared.space.tag_ids(tag)), **spoken})
  return tags


def _voice(task: Task, languages: Mapping[str, str], prepared: Prepared) -> str | None:
  """Returns the default voice of the task's first speech output; None without one, or if the ids
  encode the voice."""
  for role, stream in task.outputs:
    if prepared.space.streams[stream].modality == "speech":
      return prompting.voice_of(prepared.tokenizers[stream], task.corpus, languages[role])
  return None


def _template(block: cells.Block) -> str:
  """Returns the template text that an input block of column 0 adds to a prompt."""
  if block.mark:
    return f"<|{block.mark}|>"
  name = block.columns[0].name
  end = f"<|{block.end}|>" if block.end else ""
  return f"{{{'tag' if name == cells.TAG else name}}}{end}"


def _takes_turns(placement: placing.Placement) -> bool:
  """Returns whether streams alternate, instead of one block for each, in order."""
  return any(block.mark or block.part for block in placement.blocks)


def _outputs(placement: placing.Placement, space: TokenSpace) -> list[dict[str, Any]]:
  """Returns the options of `model.generate` for each output of a layout on one column."""
  outputs, begun, blocks = [], False, placement.blocks
  for number in range(placement.given_blocks, len(blocks)):
    block, column = blocks[number], blocks[number].columns[0]
    ends = {column.end_id} if block.end else _ids(blocks[number + 1].columns[0])
    suppressed = set(range(space.sizes[0])) - _ids(column) - ends
    outputs.append(
      {
        "stream": column.name,
        "suppress_tokens": sorted(suppressed),
        "begin_suppress_tokens": None if begun else sorted(ends),
        "eos_token_id": sorted(ends),
      }
    )
    begun = not block.end  # then this output ended with the first id of the next one
  return outputs


def _ids(column: cells.Column) -> set[int]:
  """Returns the ids a column's stream may take."""
  ranges = zip(column.starts.tolist(), column.sizes.tolist(), strict=True)
  return {id_ for start, size in ranges for id_ in range(start, start + size)}


def _plan(layout: Part, space: TokenSpace) -> dict[str, Any]:
  plan = incremental.compile(layout, space)
  return {
    "start": int(plan.start),
    "end": int(plan.end),
    "counted": plan.counted,
    "modes": plan.mode_SK.tolist(),
    "allowed": [[row_C.nonzero()[0].tolist() for row_C in row_KC] for row_KC in plan.allowed_SKC],
    "lead": plan.lead_S.tolist(),
    "next": plan.next_SC.tolist(),
    "count": plan.count_SC.tolist(),
    "empty": plan.empty_SC.tolist(),
  }


def _classes(space: TokenSpace) -> list[list[dict[str, Any]]]:
  """Returns the ids of each class of each column; plans refer to classes by their index here."""
  return [
    [
      *(
        {"start": r.start, "size": r.size, "ends": False, "stream": r.stream, "level": r.level}
        for r in space.ranges
        if r.column == column
      ),
      *(
        {"start": s.id, "size": 1, "ends": True, "stream": s.name, "level": 0}
        for s in space.specials
        if s.column == column
      ),
    ]
    for column in range(space.columns)
  ]

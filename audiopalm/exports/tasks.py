"""generation_config.json: what each task is asked with, and which ids its answer may hold.

    "tasks": {"asr": {
      "tags": [{"source": "en", "tag": "[ASR English]", "ids": [1, 19, 12]}, ...],
      "prompt": "{tag}{source.units}",
      "outputs": [{"stream": "source.text", "suppress_tokens": [436, 438, ...],
                   "begin_suppress_tokens": [437], "eos_token_id": [437]}],
      "longest_input": {"source.units": 180}, "max_new_tokens": 256}}

Where a task speaks, each tag has the "voice" of its language that we would take too.

On one column an output is what `model.generate(prompt, **those three)` adds: the ids of its stream,
then the id that ends it. A task with several outputs is asked one after the other, each time with
all that came before. With `torch_decoder.py` "plan" and "classes" say the same row by row, for any
number of columns. So they do wherever a layout lets parts take turns or fills spans; such a task
names its outputs only, and "counted": "spans" says that `frames` is how many the prompt asks for.
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
  """Returns the generation config; `longest` holds each task's longest input, in frames, by
  stream."""
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
  given = [placement.blocks[piece.block] for piece in pieces]
  if all(len(block.columns) == 1 for block in given):
    config["prompt"] = "".join(map(_template, given))
  if space.columns == 1 and not _takes_turns(placement):
    config["outputs"] = _outputs(placement, space)
  else:
    config["outputs"] = [{"stream": name} for name in layouts.predicted_streams(layout)]
  return config | ({"plan": _plan(layout, space)} if plans else {})


def _tags(task: Task, layout: Part, prepared: Prepared) -> list[dict[str, Any]]:
  """Returns every tag with the language codes it stands for, by role, and the voice of a spoken
  output."""
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
  """Returns the default voice of the task's first spoken output; None without one, or where the ids
  encode the voice."""
  for role, stream in task.outputs:
    if prepared.space.streams[stream].modality == "speech":
      return prompting.voice_of(prepared.tokenizers[stream], task.corpus, languages[role])
  return None


def _template(block: cells.Block) -> str:
  """Returns what a given block of column 0 adds to a prompt."""
  if block.mark:
    return f"<|{block.mark}|>"
  name = block.columns[0].name
  end = f"<|{block.end}|>" if block.end else ""
  return f"{{{'tag' if name == cells.TAG else name}}}{end}"


def _takes_turns(placement: placing.Placement) -> bool:
  """Returns whether blocks come otherwise than once each, one stream after another."""
  return any(block.mark or block.part for block in placement.blocks)


def _outputs(placement: placing.Placement, space: TokenSpace) -> list[dict[str, Any]]:
  """Returns what each output of a layout on one column may hold, as options of `generate`."""
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
    begun = not block.end  # the first id of the next output is what ended this one
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
  """Returns the ids of each class of each column, in the order in which plans number them."""
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

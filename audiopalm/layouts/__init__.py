"""Layouts: how a record's streams lie on the grid, as data composed of small parts.

    layout = Concat(Tag("[MT]"), Given(Flat("source.text")), Flat("target.text"), Stop())
    grid = realize(layout, {"source.text": ..., "target.text": ...}, "[MT]", space)
    recover(layout, grid.tokens_LK, space).streams["target.text"]

The names of this package are imported directly, unlike others, because configs are written with
them.
"""

from audiopalm.layouts.cells import Piece
from audiopalm.layouts.columns import Columns, Delay, Repeat
from audiopalm.layouts.infill import Infill
from audiopalm.layouts.interleave import Interleave
from audiopalm.layouts.placing import begin, conditioning, prompt, realize, rows
from audiopalm.layouts.recovery import Recovered, recover
from audiopalm.layouts.rules import (
  Chain,
  Infilling,
  Interleaving,
  Rule,
  given_streams,
  predicted_streams,
  stream_names,
  tag_of,
  tag_part,
  templates,
)
from audiopalm.layouts.sequence import CoarseFirst, Concat, Flat, Given, Stop, Tag

"""The synthetic corpora: sentences of a grammar, their translations, and dialogues.

`corpora.Synthetic`, `corpora.SyntheticDialogue` and `corpora.SyntheticText` are served from here.
"""

from data_pipelines.synthetic.corpus import count, records

__all__ = ["count", "records"]

"""The synthetic corpora: sentences of a grammar, their translations, and dialogues.

`corpora.Synthetic`, `SyntheticDialogue`, `SyntheticText` and `SyntheticTranslations` are served
from here.
"""

from audiopalm.data_pipelines.synthetic.corpus import count, records

__all__ = ["count", "records"]

"""The synthetic corpora: sentences of a grammar, their translations, and dialogues.

It makes the records of `corpora.Synthetic`, `SyntheticDialogue`, `SyntheticText` and
`SyntheticTranslations`.
"""

from audiopalm.data_pipelines.synthetic.corpus import count, records

__all__ = ["count", "records"]

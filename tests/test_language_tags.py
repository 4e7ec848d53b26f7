import pytest

from audiopalm import language_tags
from audiopalm.data.corpora import SeqioText
from audiopalm.data.manifest.lines import Reading
from audiopalm.errors import ConfigError
from audiopalm.inference import languages
from audiopalm.parts import mixtures, tokenizers


@pytest.mark.parametrize(
  ("tags", "code"),
  [
    ("pt PT pt-BR pt_br por PT-pt", "pt"),
    ("no nb nb-NO nob nor", "no"),
    ("nn nn-NO nno", "nn"),
    ("zh cmn cmn-Hans-CN zh-TW zh_Hant zho chi cmn_hans_cn", "zh"),
    ("yue zh-yue yue-Hant-HK", "yue"),
    ("tl fil fil-PH tgl", "tl"),
    ("he iw heb", "he"),
    ("en eng en-US en-x-anything", "en"),
    ("ar ara arb", "ar"),
    ("fa pes prs", "fa"),
    ("ms zsm", "ms"),
    ("sw swh", "sw"),
    ("id in ind", "id"),
    ("yi ji", "yi"),
    ("jv jw", "jv"),
    ("ro mo", "ro"),
  ],
)
def test_every_tag_of_a_language_is_one_code(tags, code):
  assert [language_tags.code(tag) for tag in tags.split()] == [code] * len(tags.split())


def test_every_known_code_is_its_own():
  assert all(language_tags.code(code) == code for code in language_tags.LANGUAGES)


@pytest.mark.parametrize(
  ("tag", "text"),
  [
    ("english", "Unknown language 'english'. Write 'en'."),
    ("qaa", "Unknown language 'qaa'. Expected one of"),
    ("und", "Unknown language 'und'. Expected one of"),
    ("", "Unknown language ''. Expected one of"),
    ("not a tag", "Unknown language 'not a tag'. Expected one of"),
  ],
)
def test_an_unknown_language_is_an_error_that_says_what_to_write(tag, text):
  assert language_tags.find(tag) is None
  with pytest.raises(ConfigError) as error:
    language_tags.code(tag)
  assert str(error.value).startswith(text)


def test_the_error_for_an_unknown_dialect_suggests_the_nearest_language():
  with pytest.raises(ConfigError, match="Unknown language 'arz'. Expected one of .*Near: 'ar'"):
    language_tags.code("arz")


def test_tags_are_resolved_the_same_everywhere():
  reading = Reading(language="pt-BR", translation_language="nb_NO")
  assert (reading.language, reading.translation_language) == ("pt", "no")
  text = SeqioText(task="t", module="m", language="cmn-Hans-CN", train_records=1)
  assert text.languages == ("zh",)
  assert languages.candidates(mixtures.text(text), language="zho") == ({"source": "zh"},)
  assert tokenizers.text(languages=("eng", "fil")) == tokenizers.text(languages=("en", "tl"))

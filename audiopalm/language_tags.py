"""Languages: the one rule by which every name of a language becomes a code, and the names of tags.

A language is known by the shortest code of ISO 639 that `LANGUAGES` has. What a user writes may be
any BCP 47 tag (RFC 5646) or ISO 639 code, in any case, with "-" or "_": script and region are left
out, and a code is replaced by the one in use today and by that of its macrolanguage:

    given                    code
    pt-BR, por, PT_br        pt
    iw                       he     (a code that was replaced)
    cmn-Hans-CN, zh-Hant     zh     (macrolanguage; yue stays yue, which has a name of its own)
    nb-NO                    no     (macrolanguage; nn stays nn)
    pes, zsm, swh            fa, ms, sw
    fil-PH                   tl     (Filipino is standardized Tagalog)
"""

import functools

from audiopalm.errors import ConfigError

LANGUAGES = {
  "af": "Afrikaans", "am": "Amharic", "ar": "Arabic", "as": "Assamese", "az": "Azerbaijani",
  "ba": "Bashkir", "be": "Belarusian", "bg": "Bulgarian", "bn": "Bengali", "bo": "Tibetan",
  "br": "Breton", "bs": "Bosnian", "ca": "Catalan", "cs": "Czech", "cv": "Chuvash", "cy": "Welsh",
  "da": "Danish", "de": "German", "dv": "Dhivehi", "el": "Greek", "en": "English",
  "eo": "Esperanto", "es": "Spanish", "et": "Estonian", "eu": "Basque", "fa": "Persian",
  "ff": "Fula", "fi": "Finnish", "fo": "Faroese", "fr": "French", "fy": "Frisian", "ga": "Irish",
  "gl": "Galician", "gn": "Guarani", "gu": "Gujarati", "ha": "Hausa", "haw": "Hawaiian",
  "he": "Hebrew", "hi": "Hindi", "hr": "Croatian", "ht": "Haitian", "hu": "Hungarian",
  "hy": "Armenian", "ia": "Interlingua", "id": "Indonesian", "ig": "Igbo", "is": "Icelandic",
  "it": "Italian", "ja": "Japanese", "jv": "Javanese", "ka": "Georgian", "kk": "Kazakh",
  "km": "Khmer", "kn": "Kannada", "ko": "Korean", "ky": "Kyrgyz", "la": "Latin",
  "lb": "Luxembourgish", "lg": "Ganda", "ln": "Lingala", "lo": "Lao", "lt": "Lithuanian",
  "lv": "Latvian", "mg": "Malagasy", "mi": "Maori", "mk": "Macedonian", "ml": "Malayalam",
  "mn": "Mongolian", "mr": "Marathi", "ms": "Malay", "mt": "Maltese", "my": "Burmese",
  "ne": "Nepali", "nl": "Dutch", "nn": "Nynorsk", "no": "Norwegian", "ny": "Chichewa",
  "oc": "Occitan", "om": "Oromo", "or": "Odia", "pa": "Punjabi", "pl": "Polish", "ps": "Pashto",
  "pt": "Portuguese", "ro": "Romanian", "ru": "Russian", "rw": "Kinyarwanda", "sa": "Sanskrit",
  "sd": "Sindhi", "si": "Sinhala", "sk": "Slovak", "sl": "Slovenian", "sn": "Shona",
  "so": "Somali", "sq": "Albanian", "sr": "Serbian", "su": "Sundanese", "sv": "Swedish",
  "sw": "Swahili", "ta": "Tamil", "te": "Telugu", "tg": "Tajik", "th": "Thai", "tk": "Turkmen",
  "tl": "Tagalog", "tr": "Turkish", "tt": "Tatar", "ug": "Uyghur", "uk": "Ukrainian",
  "ur": "Urdu", "uz": "Uzbek", "vi": "Vietnamese", "wo": "Wolof", "xh": "Xhosa",
  "yi": "Yiddish", "yo": "Yoruba", "yue": "Cantonese", "zh": "Chinese", "zu": "Zulu",
}  # fmt: skip

FARTHEST = 10  # of what langcodes calls near: a dialect that most of its speakers can do without

# Languages of `LANGUAGES` that BCP 47 prefers to call otherwise.
OTHERWISE = {"fil": "tl", "nb": "no"}


@functools.cache
def code(tag: str) -> str:
  """Returns the code in `LANGUAGES` of any BCP 47 tag or ISO 639 code; ConfigError for others."""
  found = find(tag)
  if found is None:
    raise ConfigError(f"Unknown language {tag!r}. {expected(tag)}")
  return found


@functools.cache
def find(tag: str) -> str | None:
  """Returns what `code` does, None for a tag that is no known language."""
  tag = tag.strip().replace("_", "-")
  if tag.lower() in LANGUAGES:
    return tag.lower()
  import langcodes  # takes longer to import than most commands take to start

  try:
    parsed = langcodes.Language.get(tag)
    macro = langcodes.Language.get(langcodes.standardize_tag(tag, macro=True))
  except langcodes.LanguageTagError:
    return None
  for found in (parsed.language, macro.language):
    found = OTHERWISE.get(found, found)
    if found in LANGUAGES:
      return found
  return None


def canonical(tag: str) -> str:
  """Returns what `code` does, and a tag that is no known language as it is."""
  return find(tag) or tag


def name(tag: str) -> str:
  """Returns the English name that tags use: 'fr' and 'fr-CA' -> 'French'."""
  return LANGUAGES[code(tag)]


def expected(given: str) -> str:
  """Returns what to write in the place of an unknown language."""
  codes = {name.lower(): code for code, name in LANGUAGES.items()}
  if given.lower() in codes:
    return f"Write {codes[given.lower()]!r}."
  import langcodes

  near = "" if langcodes.tag_is_valid(given) else "und"
  near = near or langcodes.closest_supported_match(given, list(LANGUAGES), FARTHEST)
  hint = f" Near: {near!r}." if near not in (None, "und") else ""
  return f"Expected one of {len(LANGUAGES)} ISO 639 codes, such as de, en, es, fr.{hint}"

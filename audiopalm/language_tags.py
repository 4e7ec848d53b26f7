"""Language codes and names, from any BCP 47 tag (RFC 5646) or ISO 639 code, in any case, with "-"
or "_". Script and region are dropped; deprecated codes and members of macrolanguages are replaced:

    tag                      code in `LANGUAGES`
    pt-BR, por, PT_br        pt
    iw                       he     (deprecated)
    cmn-Hans-CN, zh-Hant     zh     (macrolanguage; yue stays yue, as it is listed itself)
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

FARTHEST = 10  # largest distance in langcodes of a suggestion: closely related languages

ALIASES = {"fil": "tl", "nb": "no"}  # BCP 47 prefers the first


@functools.cache
def code(tag: str) -> str:
  """Returns the code in `LANGUAGES` of a BCP 47 tag or ISO 639 code; ConfigError for others."""
  language = find(tag)
  if language is None:
    raise ConfigError(f"Unknown language {tag!r}. {expected(tag)}")
  return language


@functools.cache
def find(tag: str) -> str | None:
  """Returns the code of a tag as `code` does, None for an unknown language."""
  tag = tag.strip().replace("_", "-")
  if tag.lower() in LANGUAGES:
    return tag.lower()
  import langcodes  # slow to import: most commands start faster than this

  try:
    parsed = langcodes.Language.get(tag)
    macro = langcodes.Language.get(langcodes.standardize_tag(tag, macro=True))
  except langcodes.LanguageTagError:
    return None
  for language in (parsed.language, macro.language):
    language = ALIASES.get(language, language)
    if language in LANGUAGES:
      return language
  return None


def canonical(tag: str) -> str:
  """Returns the code of a tag as `code` does, the tag itself for an unknown language."""
  return find(tag) or tag


def name(tag: str) -> str:
  """Returns the English name of a language: 'fr' and 'fr-CA' -> 'French'."""
  return LANGUAGES[code(tag)]


def expected(tag: str) -> str:
  """Returns advice for an unknown language tag."""
  codes = {name.lower(): code for code, name in LANGUAGES.items()}
  if tag.lower() in codes:
    return f"Write {codes[tag.lower()]!r}."
  import langcodes

  near = "" if langcodes.tag_is_valid(tag) else "und"
  near = near or langcodes.closest_supported_match(tag, list(LANGUAGES), FARTHEST)
  hint = f" Near: {near!r}." if near not in (None, "und") else ""
  return f"Expected one of {len(LANGUAGES)} ISO 639 codes, such as de, en, es, fr.{hint}"

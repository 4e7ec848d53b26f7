"""Questions whose answer follows from them: (question, answer) templates by kind."""

from audiopalm.data_pipelines.synthetic import forms, lexicon
from audiopalm.data_pipelines.synthetic.forms import LexicalEntry, entry
from audiopalm.data_pipelines.synthetic.template import Template


def _answered(*words: LexicalEntry, names: str) -> LexicalEntry:
  """Returns an entry whose forms, called `names`, are the words of several entries."""
  return LexicalEntry(*(
    {name: getattr(word, language)[""] for name, word in zip(names.split(), words, strict=True)}
    for language in ("en", "fr", "de")
  ))  # fmt: skip


_SUMS = tuple(
  _answered(forms.number(a), forms.number(b), forms.number(a + b), names="a b answer")
  for a in range(1, 41)
  for b in range(1, 41)
)
_DIFFERENCES = tuple(
  _answered(forms.number(a), forms.number(b), forms.number(a - b), names="a b answer")
  for a in range(2, 61)
  for b in range(1, min(a, 31))
)

_CYCLES = (lexicon.DAYS, lexicon.MONTHS)
_LINES = (forms.numbers(0, 99),)
_NEIGHBORS = tuple(
  _answered(first, second, names="first second")
  for cycle in _CYCLES
  for first, second in zip(cycle, cycle[1:] + cycle[:1], strict=True)
) + tuple(
  _answered(first, second, names="first second")
  for line in _LINES
  for first, second in zip(line, line[1:], strict=False)
)

_PAIRS = """
  big | grand grande | groß | small | petit petite | klein
  long | long longue | lang | short | court courte | kurz
  expensive | cher chère | teuer | cheap | bon_marché | billig
  heavy | lourd lourde | schwer | light | léger légère | leicht
  warm | chaud chaude | warm | cold | froid froide | kalt
  fast | rapide | schnell | slow | lent lente | langsam
  clean | propre | sauber | dirty | sale | schmutzig
  full | plein pleine | voll | empty | vide | leer
  hard | dur dure | hart | soft | mou molle | weich
  wide | large | breit | narrow | étroit étroite | eng
  good | bon bonne | gut | bad | mauvais mauvaise | schlecht
  beautiful | beau belle | schön | ugly | laid laide | hässlich
  strong | fort forte | stark | weak | faible | schwach
  open | ouvert ouverte | offen | closed | fermé fermée | geschlossen
  wet | mouillé mouillée | nass | dry | sec sèche | trocken
  new | neuf neuve | neu | old | vieux vieille | alt
"""


def _opposites() -> tuple[LexicalEntry, ...]:
  def entry_of(en: str, fr: str, de: str, en_not: str, fr_not: str, de_not: str) -> LexicalEntry:
    french, other = ([word.replace("_", " ") for word in words.split()] for words in (fr, fr_not))
    return entry(
      {"": en, "not": en_not},
      {":m": french[0], ":f": french[-1], "not:m": other[0], "not:f": other[-1]},
      {"": de, "not": de_not},
    )

  pairs = forms.rows(_PAIRS)
  return tuple(entry_of(*pair) for pair in pairs) + tuple(
    entry_of(*pair[3:], *pair[:3]) for pair in pairs
  )


_NAMES = forms.entries("""
  anna | anna | anna
  peter | peter | peter
  maria | maria | maria
  thomas | thomas | thomas
  julia | julia | julia
  martin | martin | martin
  laura | laura | laura
  david | david | david
  emma | emma | emma
  simon | simon | simon
  clara | clara | clara
  robert | robert | robert
  sophie | sophie | sophie
  daniel | daniel | daniel
  nina | nina | nina
  oscar | oscar | oscar
""")

_NEAR = forms.entries("""
  next to | à côté de | neben
  behind | derrière | hinter
  in front of | devant | vor
""")

TEMPLATES = {
  "sums": (
    Template(
      "sums.plus",
      {"sum": _SUMS},
      en=("what is {sum.a} plus {sum.b}", "it is {sum.answer}"),
      fr=("combien font {sum.a} plus {sum.b}", "ça fait {sum.answer}"),
      de=("wie viel ist {sum.a} plus {sum.b}", "das ist {sum.answer}"),
    ),
    Template(
      "sums.minus",
      {"sum": _DIFFERENCES},
      en=("what is {sum.a} minus {sum.b}", "it is {sum.answer}"),
      fr=("combien font {sum.a} moins {sum.b}", "ça fait {sum.answer}"),
      de=("wie viel ist {sum.a} minus {sum.b}", "das ist {sum.answer}"),
    ),
  ),
  "order": (
    Template(
      "order.after",
      {"pair": _NEIGHBORS},
      en=("what comes after {pair.first}", "after {pair.first} comes {pair.second}"),
      fr=("qu'est ce qui vient après {pair.first}", "après {pair.first} vient {pair.second}"),
      de=("was kommt nach {pair.first}", "nach {pair.first} kommt {pair.second}"),
    ),
    Template(
      "order.before",
      {"pair": _NEIGHBORS},
      en=("what comes before {pair.second}", "before {pair.second} comes {pair.first}"),
      fr=("qu'est ce qui vient avant {pair.second}", "avant {pair.second} vient {pair.first}"),
      de=("was kommt vor {pair.second}", "vor {pair.second} kommt {pair.first}"),
    ),
  ),
  "opposites": (
    Template(
      "opposites.not",
      {"thing": lexicon.THINGS, "quality": _opposites()},
      en=("if the {thing} is not {quality} what is it", "the {thing} is {quality.not}"),
      fr=(
        "si {thing.le} {thing} n'est pas {quality:thing} comment est {thing.il}",
        "{thing.le} {thing} est {quality.not:thing}",
      ),
      de=(
        "wenn {thing.der} {thing} nicht {quality} ist wie ist {thing.er} dann",
        "{thing.der} {thing} ist {quality.not}",
      ),
    ),
  ),
  "names": (
    Template(
      "names.name",
      {"name": _NAMES, "city": lexicon.CITIES},
      en=("my name is {name} and i live in {city} what is my name", "your name is {name}"),
      fr=("je m'appelle {name} et j'habite à {city} quel est mon nom", "tu t'appelles {name}"),
      de=("ich heiße {name} und wohne in {city} wie heiße ich", "du heißt {name}"),
    ),
    Template(
      "names.city",
      {"name": _NAMES, "city": lexicon.CITIES},
      en=("my name is {name} and i live in {city} where do i live", "you live in {city}"),
      fr=("je m'appelle {name} et j'habite à {city} où est ce que j'habite", "tu habites à {city}"),
      de=("ich heiße {name} und wohne in {city} wo wohne ich", "du wohnst in {city}"),
    ),
  ),
  "colours": (
    Template(
      "colours.which",
      {
        "color": lexicon.COLORS,
        "thing": lexicon.THINGS,
        "shade": lexicon.COLORS,
        "other": lexicon.THINGS,
      },
      en=(
        "i have a {color} {thing} and a {shade} {other} what colour is the {thing}",
        "the {thing} is {color}",
      ),
      fr=(
        "j'ai {thing.un} {thing} {color:thing} et {other.un} {other} {shade:other} "
        "de quelle couleur est {thing.le} {thing}",
        "{thing.le} {thing} est {color:thing}",
      ),
      de=(
        "ich habe {thing.einen} {color.einen:thing} {thing} und {other.einen} "
        "{shade.einen:other} {other} welche farbe hat {thing.der} {thing}",
        "{thing.der} {thing} ist {color}",
      ),
      unlike=("other", "thing"),
    ),
  ),
  "places": (
    Template(
      "places.what",
      {"place": lexicon.PLACES, "near": _NEAR, "other": lexicon.PLACES},
      en=(
        "the {place} is {near} the {other} what is {near} the {other}",
        "it is the {place}",
      ),
      fr=(
        "{place.le} {place} est {near} {other.le} {other} "
        "qu'est ce qui est {near} {other.le} {other}",
        "c'est {place.le} {place}",
      ),
      de=(
        "{place.der} {place} ist {near} {other.dem} {other} was ist {near} {other.dem} {other}",
        "das ist {place.der} {place}",
      ),
      unlike=("other", "place"),
    ),
  ),
}

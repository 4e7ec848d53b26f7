"""Where a place is and how to get there."""

from audiopalm.data_pipelines.synthetic import forms, lexicon
from audiopalm.data_pipelines.synthetic.template import Template

_SIDES = forms.entries("""
  left | à gauche | links
  right | à droite | rechts
""")

_AT = forms.entries("""
  after | après | nach
  before | avant | vor
  at | à | an
""")

_NEAR = forms.entries("""
  next to | à côté de | neben
  opposite | en face de | gegenüber
  behind | derrière | hinter
  in front of | devant | vor
  near | près de | in der nähe von
  far from | loin de | weit weg von
""")

_ORDINALS = forms.entries("""
  first | première | erste
  second | deuxième | zweite
  third | troisième | dritte
  fourth | quatrième | vierte
  fifth | cinquième | fünfte
""")

TEMPLATES = (
  Template(
    "directions.turn",
    {
      "side": _SIDES,
      "at": _AT,
      "place": lexicon.PLACES,
      "metres": forms.numbers(100, 900, 100),
    },
    en="turn {side} {at} the {place} and walk {metres} metres",
    fr="tournez {side} {at} {place.le} {place} et marchez {metres} mètres",
    de="biegen sie {at} {place.dem} {place} {side} ab und gehen sie {metres} meter",
  ),
  Template(
    "directions.where",
    {"place": lexicon.PLACES, "near": _NEAR, "other": lexicon.PLACES},
    en="the {place} is {near} the {other}",
    fr="{place.le} {place} est {near} {other.le} {other}",
    de="{place.der} {place} ist {near} {other.dem} {other}",
    unlike=("other", "place"),
  ),
  Template(
    "directions.how",
    {"place": lexicon.PLACES, "mode": lexicon.MODES},
    en="excuse me how do i get to the {place} {mode}",
    fr="excusez moi comment aller à {place.le} {place} {mode}",
    de="entschuldigung wie komme ich {mode} zu {place.dem} {place}",
  ),
  Template(
    "directions.minutes",
    {
      "place": lexicon.PLACES,
      "minutes": forms.numbers(5, 25, 5),
      "other": lexicon.PLACES,
      "mode": lexicon.MODES,
    },
    en="the {place} is {minutes} minutes from the {other} {mode}",
    fr="{place.le} {place} est à {minutes} minutes de {other.le} {other} {mode}",
    de="{place.der} {place} ist {mode} {minutes} minuten von {other.dem} {other} entfernt",
    unlike=("other", "place"),
  ),
  Template(
    "directions.streets",
    {"first": _ORDINALS, "side": _SIDES, "then": _ORDINALS, "other": _SIDES},
    en="take the {first} street on the {side} and then the {then} street on the {other}",
    fr="prenez la {first} rue {side} puis la {then} rue {other}",
    de="nehmen sie die {first} straße {side} und dann die {then} straße {other}",
  ),
  Template(
    "directions.change",
    {"place": lexicon.PLACES, "number": forms.numbers(2, 99)},
    en="you have to get off at the {place} and take bus number {number}",
    fr="vous devez descendre à {place.le} {place} et prendre le bus numéro {number}",
    de="sie müssen an {place.dem} {place} aussteigen und den bus nummer {number} nehmen",
  ),
)

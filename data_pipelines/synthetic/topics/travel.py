"""Trains, buses and planes: where they go and when."""

from audiopalm.data_pipelines.synthetic import forms, lexicon
from audiopalm.data_pipelines.synthetic.forms import entry
from audiopalm.data_pipelines.synthetic.template import Template

_VEHICLES = tuple(
  entry(noun.en, noun.fr, {**noun.de, "goes": goes})
  for noun, goes in zip(
    forms.nouns("""
      train | train m | zug m
      bus | bus m | bus m
      plane | avion m | flugzeug n
    """),
    ("fährt", "fährt", "fliegt"),
    strict=True,
  )
)

_WHICH = forms.adjectives("""
  first | premier première | erst
  next | prochain prochaine | nächst
  last | dernier dernière | letzt
""")

TEMPLATES = (
  Template(
    "travel.leaves",
    {"vehicle": _VEHICLES, "city": lexicon.CITIES, "time": lexicon.TIMES},
    en="the {vehicle} to {city} leaves at {time}",
    fr="{vehicle.le} {vehicle} pour {city} part à {time}",
    de="{vehicle.der} {vehicle} nach {city} {vehicle.goes} um {time} ab",
  ),
  Template(
    "travel.arrives",
    {"vehicle": _VEHICLES, "city": lexicon.CITIES, "time": lexicon.TIMES},
    en="the {vehicle} from {city} arrives at {time}",
    fr="{vehicle.le} {vehicle} de {city} arrive à {time}",
    de="{vehicle.der} {vehicle} aus {city} kommt um {time} an",
  ),
  Template(
    "travel.late",
    {
      "which": _WHICH,
      "vehicle": _VEHICLES,
      "city": lexicon.CITIES,
      "minutes": forms.numbers(2, 60),
    },
    en="the {which} {vehicle} to {city} is {minutes} minutes late",
    fr="{vehicle.le} {which:vehicle} {vehicle} pour {city} a {minutes.f} minutes de retard",
    de="{vehicle.der} {which.der:vehicle} {vehicle} nach {city} hat {minutes} minuten verspätung",
  ),
)

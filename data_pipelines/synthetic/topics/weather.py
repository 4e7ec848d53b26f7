"""Sun, rain and degrees, today, yesterday and tomorrow."""

from audiopalm.data_pipelines.synthetic import forms, lexicon
from audiopalm.data_pipelines.synthetic.forms import LexicalEntry, entry
from audiopalm.data_pipelines.synthetic.template import Template


def _be(en: str, fr_now: str, fr_will: str, fr_was: str, de: str) -> LexicalEntry:
  return entry(
    {"now": f"it is {en}", "will": f"it will be {en}", "was": f"it was {en}", "if": f"it is {en}"},
    {"now": fr_now, "will": fr_will, "was": fr_was},
    {
      "now": f"ist es {de}",
      "will": "wird es", "will_end": f"{de} sein",
      "was": "war es", "was_end": de,
      "if": "es ", "if_end": f"{de} ist",
    },
  )  # fmt: skip


_WEATHER = (
  entry(
    {"now": "it is raining", "will": "it will rain", "was": "it rained", "if": "it rains"},
    {"now": "il pleut", "will": "il pleuvra", "was": "il a plu"},
    {
      "now": "regnet es",
      "will": "wird es", "will_end": "regnen",
      "was": "hat es", "was_end": "geregnet",
      "if": "es ", "if_end": "regnet",
    },
  ),
  entry(
    {"now": "it is snowing", "will": "it will snow", "was": "it snowed", "if": "it snows"},
    {"now": "il neige", "will": "il neigera", "was": "il a neigé"},
    {
      "now": "schneit es",
      "will": "wird es", "will_end": "schneien",
      "was": "hat es", "was_end": "geschneit",
      "if": "es ", "if_end": "schneit",
    },
  ),
  entry(
    {
      "now": "the sun is shining", "will": "the sun will shine", "was": "the sun shone",
      "if": "the sun shines",
    },
    {"now": "le soleil brille", "will": "le soleil brillera", "was": "le soleil brillait"},
    {
      "now": "scheint die sonne",
      "will": "wird die sonne", "will_end": "scheinen",
      "was": "hat die sonne", "was_end": "geschienen",
      "if": "", "if_end": "die sonne scheint",
    },
  ),
  _be("cold", "il fait froid", "il fera froid", "il faisait froid", "kalt"),
  _be("warm", "il fait chaud", "il fera chaud", "il faisait chaud", "warm"),
  _be("cool", "il fait frais", "il fera frais", "il faisait frais", "kühl"),
  _be("windy", "il y a du vent", "il y aura du vent", "il y avait du vent", "windig"),
  _be(
    "foggy", "il y a du brouillard", "il y aura du brouillard", "il y avait du brouillard", "neblig"
  ),
  _be("cloudy", "le ciel est couvert", "le ciel sera couvert", "le ciel était couvert", "bewölkt"),
  _be("dry", "le temps est sec", "le temps sera sec", "le temps était sec", "trocken"),
  _be(
    "stormy", "il y a une tempête", "il y aura une tempête", "il y avait une tempête", "stürmisch"
  ),
)  # fmt: skip

_NOW = forms.entries("""
  today | aujourd'hui | heute
  this morning | ce matin | heute morgen
  this evening | ce soir | heute abend
  at the moment | en ce moment | im moment
""")

_LATER = lexicon.ON_DAYS + forms.entries("""
  tomorrow | demain | morgen
  tomorrow morning | demain matin | morgen früh
  tomorrow evening | demain soir | morgen abend
  next week | la semaine prochaine | nächste woche
  at the weekend | ce weekend | am wochenende
""")

_BEFORE = forms.entries("""
  yesterday | hier | gestern
  yesterday evening | hier soir | gestern abend
  last night | la nuit dernière | letzte nacht
  last week | la semaine dernière | letzte woche
  last month | le mois dernier | letzten monat
  last spring | le printemps dernier | letzten frühling
  last summer | l'été dernier | letzten sommer
  last autumn | l'automne dernier | letzten herbst
  last winter | l'hiver dernier | letzten winter
""")

_PLANS = forms.entries("""
  stay at home | restons à la maison | bleiben wir zu hause
  go to the cinema | allons au cinéma | gehen wir ins kino
  visit the museum | visitons le musée | besuchen wir das museum
  go swimming | allons nager | gehen wir schwimmen
  read a book | lisons un livre | lesen wir ein buch
  play cards | jouons aux cartes | spielen wir karten
  take the bus | prenons le bus | nehmen wir den bus
  bake a cake | faisons un gâteau | backen wir einen kuchen
  go for a walk | nous promenons | gehen wir spazieren
  eat in the garden | mangeons dans le jardin | essen wir im garten
  wear a coat | portons un manteau | tragen wir einen mantel
""")

TEMPLATES = (
  Template(
    "weather.now",
    {"when": _NOW, "weather": _WEATHER, "city": lexicon.CITIES},
    en="{when} {weather.now} in {city}",
    fr="{when} {weather.now} à {city}",
    de="{when} {weather.now} in {city}",
  ),
  Template(
    "weather.will",
    {"when": _LATER, "weather": _WEATHER, "city": lexicon.CITIES},
    en="{when} {weather.will} in {city}",
    fr="{when} {weather.will} à {city}",
    de="{when} {weather.will} in {city} {weather.will_end}",
  ),
  Template(
    "weather.was",
    {"when": _BEFORE, "weather": _WEATHER, "city": lexicon.CITIES},
    en="{when} {weather.was} in {city}",
    fr="{when} {weather.was} à {city}",
    de="{when} {weather.was} in {city} {weather.was_end}",
  ),
  Template(
    "weather.degrees",
    {"city": lexicon.CITIES, "degrees": forms.numbers(2, 39)},
    en="the temperature in {city} is {degrees} degrees",
    fr="la température à {city} est de {degrees} degrés",
    de="die temperatur in {city} beträgt {degrees} grad",
  ),
  Template(
    "weather.if",
    {
      "weather": _WEATHER,
      "when": lexicon.ON_DAYS + forms.entries("tomorrow | demain | morgen"),
      "plan": _PLANS,
    },
    en="if {weather.if} {when} we {plan}",
    fr="si {weather.now} {when} nous {plan}",
    de="wenn {weather.if}{when} {weather.if_end} {plan}",
  ),
)

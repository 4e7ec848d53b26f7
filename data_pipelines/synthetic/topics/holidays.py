"""Journeys: tickets, hotels, countries, luggage."""

from audiopalm.data_pipelines.synthetic import forms, lexicon
from audiopalm.data_pipelines.synthetic.template import Template

_LODGINGS = forms.nouns("""
  hotel | hôtel m | hotel n
  flat | appartement m | wohnung f
  house | maison f | haus n
  tent | tente f | zelt n
  room | chambre f | zimmer n
""")

_COUNTRIES = forms.entries("""
  france | en france | in frankreich
  italy | en italie | in italien
  spain | en espagne | in spanien
  portugal | au portugal | in portugal
  germany | en allemagne | in deutschland
  austria | en autriche | in österreich
  switzerland | en suisse | in der schweiz
  greece | en grèce | in griechenland
  norway | en norvège | in norwegen
  sweden | en suède | in schweden
  denmark | au danemark | in dänemark
  poland | en pologne | in polen
  ireland | en irlande | in irland
  canada | au canada | in kanada
  japan | au japon | in japan
""")

_SEASONS = tuple(
  forms.entry(en, {"": fr, "in": at}, de)
  for en, fr, at, de in forms.rows("""
    spring | le printemps | au printemps | frühling
    summer | l'été | en été | sommer
    autumn | l'automne | en automne | herbst
    winter | l'hiver | en hiver | winter
  """)
)

TEMPLATES = (
  Template(
    "holidays.ticket",
    {"city": lexicon.CITIES, "price": forms.numbers(2, 99)},
    en="a ticket to {city} costs {price} euros",
    fr="un billet pour {city} coûte {price} euros",
    de="ein fahrschein nach {city} kostet {price} euro",
  ),
  Template(
    "holidays.going",
    {
      "month": lexicon.MONTHS,
      "who": lexicon.FAMILY,
      "city": lexicon.CITIES,
      "mode": lexicon.MODES[1:4],
    },
    en="in {month} my {who} is going to {city} {mode}",
    fr="en {month} {who.mon} {who} va à {city} {mode}",
    de="im {month} fährt {who.mein} {who} {mode} nach {city}",
  ),
  Template(
    "holidays.nights",
    {
      "nights": forms.numbers(2, 14),
      "size": lexicon.SIZES,
      "lodging": _LODGINGS,
      "city": lexicon.CITIES,
    },
    en="we are staying {nights} nights in a {size} {lodging} in {city}",
    fr="nous restons {nights} nuits dans {lodging.un} {size:lodging} {lodging} à {city}",
    de="wir bleiben {nights} nächte in {lodging.einem} {size.einem:lodging} {lodging} in {city}",
  ),
  Template(
    "holidays.spend",
    {"who": lexicon.FAMILY, "season": _SEASONS, "country": _COUNTRIES},
    en="my {who} would like to spend the {season} in {country}",
    fr="{who.mon} {who} voudrait passer {season} {country}",
    de="{who.mein} {who} möchte den {season} {country} verbringen",
  ),
  Template(
    "holidays.been",
    {"city": lexicon.CITIES, "season": _SEASONS},
    en="have you ever visited {city} in {season}",
    fr="as tu déjà visité {city} {season.in}",
    de="hast du schon einmal {city} im {season} besucht",
  ),
  Template(
    "holidays.luggage",
    {"item": lexicon.BELONGINGS, "other": lexicon.BELONGINGS, "city": lexicon.CITIES},
    en="do not forget your {item} and your {other} for the journey to {city}",
    fr="n'oublie pas {item.ton} {item} et {other.ton} {other} pour le voyage à {city}",
    de="vergiss {item.deinen} {item} und {other.deinen} {other} nicht für die reise nach {city}",
    unlike=("other", "item"),
  ),
)

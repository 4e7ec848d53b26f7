"""Rooms, furniture and pets."""

from audiopalm.data_pipelines.synthetic import forms, lexicon
from audiopalm.data_pipelines.synthetic.template import Template

_ROOMS = forms.nouns("""
  kitchen | cuisine f | küche f
  bathroom | salle_de_bain f | badezimmer n
  bedroom | chambre f | schlafzimmer n
  lounge | salon m | wohnzimmer n
  garden | jardin m | garten m
  cellar | cave f | keller m
  office | bureau m | büro n
  garage | garage m | garage f
""")

_INDOORS = tuple(room for room in _ROOMS if room.en[""] != "garden")

_PETS = forms.nouns("""
  dog | chien m | hund m
  cat | chat m | katze f
  rabbit | lapin m | kaninchen n
  mouse | souris f | maus f
  bird | oiseau m | vogel m
""")

_FITTINGS = forms.nouns("""
  window | fenêtre f | fenster n
  door | porte f | tür f
  lamp | lampe f | lampe f
  heater | radiateur m | heizkörper m
  fridge | réfrigérateur m | kühlschrank m
  oven | four m | ofen m
  shower | douche f | dusche f
  television | télévision f | fernseher m
  clock | horloge f | uhr f
  mirror | miroir m | spiegel m
""")

_STATES = forms.adjectives("""
  broken | cassé cassée | kaputt
  dirty | sale | schmutzig
  new | neuf neuve | neu
  clean | propre | sauber
  old | vieux vieille | alt
""")

_SOMEWHERE = forms.nouns("""
  key | clé f | schlüssel m
  book | livre m | buch n
  phone | téléphone m | telefon n
  bag | sac m | tasche f
  letter | lettre f | brief m
  newspaper | journal m | zeitung f
  ball | ballon m | ball m
  knife | couteau m | messer n
  plate | assiette f | teller m
  cat | chat m | katze f
""")

TEMPLATES = (
  Template(
    "home.there",
    {"color": lexicon.COLORS, "furniture": lexicon.FURNITURE, "room": _ROOMS},
    en="there is a {color} {furniture} in the {room}",
    fr="il y a {furniture.un} {furniture} {color:furniture} dans {room.le} {room}",
    de="in {room.dem} {room} gibt es {furniture.einen} {color.einen:furniture} {furniture}",
  ),
  Template(
    "home.pet",
    {
      "color": lexicon.COLORS,
      "pet": _PETS,
      "beside": lexicon.BESIDE,
      "furniture": lexicon.FURNITURE,
    },
    en="the {color} {pet} is sleeping {beside} the {furniture}",
    fr="{pet.le} {pet} {color:pet} dort {beside} {furniture.le} {furniture}",
    de="{pet.der} {color.der:pet} {pet} schläft {beside} {furniture.dem} {furniture}",
  ),
  Template(
    "home.state",
    {"fitting": _FITTINGS, "room": _INDOORS, "state": _STATES},
    en="the {fitting} in the {room} is {state}",
    fr="{fitting.le} {fitting} dans {room.le} {room} est {state:fitting}",
    de="{fitting.der} {fitting} in {room.dem} {room} ist {state}",
  ),
  Template(
    "home.paint",
    {
      "room": _INDOORS,
      "color": lexicon.COLORS,
      "other": _INDOORS,
      "shade": lexicon.COLORS,
    },
    en="we are painting the {room} {color} and the {other} {shade}",
    fr="nous peignons {room.le} {room} en {color} et {other.le} {other} en {shade}",
    de="wir streichen {room.den} {room} {color} und {other.den} {other} {shade}",
    unlike=("other", "room"),
  ),
  Template(
    "home.find",
    {
      "item": _SOMEWHERE,
      "room": _INDOORS,
      "beside": lexicon.BESIDE,
      "furniture": lexicon.FURNITURE,
    },
    en="the {item} is in the {room} {beside} the {furniture}",
    fr="{item.le} {item} est dans {room.le} {room} {beside} {furniture.le} {furniture}",
    de="{item.der} {item} ist in {room.dem} {room} {beside} {furniture.dem} {furniture}",
  ),
)

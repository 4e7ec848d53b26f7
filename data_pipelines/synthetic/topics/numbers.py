"""Counting: animals, people, digits, meters, buses."""

from audiopalm.data_pipelines.synthetic import forms, lexicon
from audiopalm.data_pipelines.synthetic.template import Template

_ANIMALS = forms.nouns("""
  dog dogs | chien chiens m | hund hunde m
  cat cats | chat chats m | katze katzen f
  horse horses | cheval chevaux m | pferd pferde n
  cow cows | vache vaches f | kuh kühe f
  sheep sheep | mouton moutons m | schaf schafe n
  pig pigs | cochon cochons m | schwein schweine n
  duck ducks | canard canards m | ente enten f
  hen hens | poule poules f | huhn hühner n
  rabbit rabbits | lapin lapins m | kaninchen kaninchen n
  goat goats | chèvre chèvres f | ziege ziegen f
""")

_PEOPLE = forms.nouns("""
  child children | enfant enfants m | kind kinder n
  woman women | femme femmes f | frau frauen f
  man men | homme hommes m | mann männer m
  student students | étudiant étudiants m | student studenten m
  girl girls | fille filles f | mädchen mädchen n
  boy boys | garçon garçons m | junge jungen m
  tourist tourists | touriste touristes m | tourist touristen m
  visitor visitors | visiteur visiteurs m | besucher besucher m
""")

_TALL = forms.nouns("""
  tower | tour f | turm m
  house | maison f | haus n
  tree | arbre m | baum m
  wall | mur m | mauer f
  bridge | pont m | brücke f
  church | église f | kirche f
  rock | rocher m | felsen m
  hotel | hôtel m | hotel n
""")

_DIGITS = forms.numbers(0, 9)

TEMPLATES = (
  Template(
    "numbers.animals",
    {
      "count": forms.numbers(2, 9),
      "animal": _ANIMALS,
      "more": forms.numbers(2, 9),
      "other": _ANIMALS,
    },
    en="i have {count} {animal.s} and {more} {other.s}",
    fr="j'ai {count} {animal.s} et {more} {other.s}",
    de="ich habe {count} {animal.s} und {more} {other.s}",
    unlike=("other", "animal"),
  ),
  Template(
    "numbers.people",
    {"count": forms.numbers(2, 99), "people": _PEOPLE, "place": lexicon.INSIDE},
    en="there are {count} {people.s} in the {place}",
    fr="il y a {count:people} {people.s} à {place.le} {place}",
    de="es sind {count} {people.s} in {place.dem} {place}",
  ),
  Template(
    "numbers.digits",
    {"a": _DIGITS, "b": _DIGITS, "c": _DIGITS, "d": _DIGITS},
    en="my number is {a} {b} {c} {d}",
    fr="mon numéro est {a} {b} {c} {d}",
    de="meine nummer ist {a} {b} {c} {d}",
  ),
  Template(
    "numbers.high",
    {"building": _TALL, "metres": forms.numbers(2, 99)},
    en="the {building} is {metres} metres high",
    fr="{building.le} {building} fait {metres} mètres de haut",
    de="{building.der} {building} ist {metres} meter hoch",
  ),
  Template(
    "numbers.bus",
    {"number": forms.numbers(2, 99), "place": lexicon.PLACES},
    en="bus number {number} goes to the {place}",
    fr="le bus numéro {number} va à {place.le} {place}",
    de="der bus nummer {number} fährt zu {place.dem} {place}",
  ),
)

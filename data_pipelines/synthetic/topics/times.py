"""Clock times, days, dates."""

from audiopalm.data_pipelines.synthetic import forms, lexicon
from audiopalm.data_pipelines.synthetic.template import Template

_EVENTS = forms.nouns("""
  meeting | réunion f | besprechung f
  concert | concert m | konzert n
  film | film m | film m
  game | match m | spiel n
  party | fête f | feier f
  course | cours m | kurs m
  show | spectacle m | vorstellung f
  exam | examen m | prüfung f
  wedding | mariage m | hochzeit f
  tour | visite f | führung f
""")

TEMPLATES = (
  Template(
    "times.now",
    {"time": lexicon.TIMES, "city": lexicon.CITIES},
    en="it is {time} in {city}",
    fr="il est {time} à {city}",
    de="es ist {time} in {city}",
  ),
  Template(
    "times.starts",
    {"event": _EVENTS, "day": lexicon.ON_DAYS, "time": lexicon.TIMES},
    en="the {event} starts {day} at {time}",
    fr="{event.le} {event} commence {day} à {time}",
    de="{event.der} {event} beginnt {day} um {time}",
  ),
  Template(
    "times.closes",
    {"day": lexicon.ON_DAYS, "place": lexicon.INSIDE, "time": lexicon.HALF_HOURS},
    en="{day} the {place} closes at {time}",
    fr="{day} {place.le} {place} ferme à {time}",
    de="{day} schließt {place.der} {place} um {time}",
  ),
  Template(
    "times.birthday",
    {"who": lexicon.FAMILY, "day": forms.ordinal_days(), "month": lexicon.MONTHS},
    en="the birthday of my {who} is on the {day} of {month}",
    fr="l'anniversaire de {who.mon} {who} est le {day} {month}",
    de="{who.mein} {who} hat am {day} {month} geburtstag",
  ),
  Template(
    "times.holidays",
    {"month": lexicon.MONTHS, "other": lexicon.MONTHS},
    en="the holidays begin in {month} and end in {other}",
    fr="les vacances commencent en {month} et finissent en {other}",
    de="die ferien beginnen im {month} und enden im {other}",
    unlike=("other", "month"),
  ),
  Template(
    "times.waiting",
    {"place": lexicon.PLACES, "minutes": forms.numbers(5, 55, 5)},
    en="i have been waiting in front of the {place} for {minutes} minutes",
    fr="j'attends devant {place.le} {place} depuis {minutes} minutes",
    de="ich warte seit {minutes} minuten vor {place.dem} {place}",
  ),
)

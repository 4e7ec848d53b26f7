"""Lessons, exams, languages, pens."""

from audiopalm.data_pipelines.synthetic import forms, lexicon
from audiopalm.data_pipelines.synthetic.template import Template

_SUBJECTS = forms.entries("""
  maths | mathématiques | mathematik
  history | histoire | geschichte
  geography | géographie | erdkunde
  biology | biologie | biologie
  physics | physique | physik
  chemistry | chimie | chemie
  music | musique | musik
  art | dessin | kunst
  french | français | französisch
  english | anglais | englisch
""")

_HARD = forms.entries("""
  difficult | difficile | schwer
  easy | facile | leicht
  important | important | wichtig
  interesting | intéressant | interessant
""")

_LANGUAGES = forms.entries("""
  english | anglais | englisch
  french | français | französisch
  german | allemand | deutsch
  italian | italien | italienisch
  spanish | espagnol | spanisch
  portuguese | portugais | portugiesisch
  polish | polonais | polnisch
  dutch | néerlandais | niederländisch
  japanese | japonais | japanisch
  russian | russe | russisch
""")

_UNITS = forms.entries("""
  weeks | semaines | wochen
  months | mois | monaten
  years | ans | jahren
""")

_TOOLS = forms.nouns("""
  pen | stylo m | kugelschreiber m
  pencil | crayon m | bleistift m
  notebook | cahier m | heft n
  ruler | règle f | lineal n
  rubber | gomme f | radiergummi m
  folder | classeur m | ordner m
  brush | pinceau m | pinsel m
""")

TEMPLATES = (
  Template(
    "school.lesson",
    {
      "day": lexicon.ON_DAYS[:5],
      "time": lexicon.HALF_HOURS,
      "subject": _SUBJECTS,
      "room": forms.numbers(2, 9),
    },
    en="{day} at {time} we have {subject} in room {room}",
    fr="{day} à {time} nous avons {subject} dans la salle {room}",
    de="{day} um {time} haben wir {subject} in raum {room}",
  ),
  Template(
    "school.exam",
    {"subject": _SUBJECTS, "minutes": forms.numbers(10, 60, 5), "hard": _HARD},
    en="the {subject} exam lasts {minutes} minutes and is very {hard}",
    fr="l'examen de {subject} dure {minutes} minutes et il est très {hard}",
    de="die prüfung in {subject} dauert {minutes} minuten und ist sehr {hard}",
  ),
  Template(
    "school.language",
    {"language": _LANGUAGES, "count": forms.numbers(2, 20), "unit": _UNITS},
    en="i have been learning {language} for {count} {unit}",
    fr="j'apprends le {language} depuis {count} {unit}",
    de="ich lerne seit {count} {unit} {language}",
  ),
  Template(
    "school.class",
    {"girls": forms.numbers(2, 30), "boys": forms.numbers(2, 30)},
    en="there are {girls} girls and {boys} boys in my class",
    fr="il y a {girls.f} filles et {boys} garçons dans ma classe",
    de="in meiner klasse sind {girls} mädchen und {boys} jungen",
  ),
  Template(
    "school.tools",
    {"subject": _SUBJECTS, "color": lexicon.COLORS, "tool": _TOOLS, "other": _TOOLS},
    en="in {subject} you need a {color} {tool} and a {other}",
    fr="en {subject} il te faut {tool.un} {tool} {color:tool} et {other.un} {other}",
    de="in {subject} brauchst du {tool.einen} {color.einen:tool} {tool} und {other.einen} {other}",
    unlike=("other", "tool"),
  ),
)

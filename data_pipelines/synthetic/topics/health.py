"""Aches, advice, appointments."""

from audiopalm.data_pipelines.synthetic import forms, lexicon
from audiopalm.data_pipelines.synthetic.template import Template

_BODY = forms.nouns("""
  head | tête f | kopf m
  back | dos m | rücken m
  stomach | ventre m | bauch m
  arm | bras m | arm m
  leg | jambe f | bein n
  foot | pied m | fuß m
  hand | main f | hand f
  knee | genou m | knie n
  shoulder | épaule f | schulter f
  neck | cou m | hals m
  ear | oreille f | ohr n
  tooth | dent f | zahn m
""")

_SINCE = forms.entries("""
  monday | lundi | montag
  tuesday | mardi | dienstag
  wednesday | mercredi | mittwoch
  thursday | jeudi | donnerstag
  friday | vendredi | freitag
  saturday | samedi | samstag
  sunday | dimanche | sonntag
  yesterday | hier | gestern
  this morning | ce matin | heute morgen
""")

_ADVICE = tuple(
  forms.entry(en, fr, de)
  for en, fr, de in forms.rows("""
    stay in bed | rester au lit | im bett bleiben
    drink tea | boire du thé | tee trinken
    take tablets | prendre des comprimés | tabletten nehmen
    eat soup | manger de la soupe | suppe essen
    wear a scarf | porter une écharpe | einen schal tragen
    sleep a lot | dormir beaucoup | viel schlafen
    stay at home | rester à la maison | zu hause bleiben
  """)
)

_HEALERS = forms.nouns("""
  dentist | dentiste m | zahnarzt m
  doctor | médecin m | arzt m
  hairdresser | coiffeur m | friseur m
  optician | opticien m | optiker m
  lawyer | avocat m | anwalt m
""")

_DOSES = forms.entries("""
  tablets | comprimés | tabletten
  drops | gouttes | tropfen
  spoons | cuillères | löffel
""")

_BEFORE_AFTER = forms.entries("""
  before | avant | vor
  after | après | nach
""")

TEMPLATES = (
  Template(
    "health.aches",
    {"who": lexicon.FAMILY, "part": _BODY, "since": _SINCE},
    en="my {who}'s {part} has been hurting since {since}",
    fr="{who.mon} {who} a mal à {part.le} {part} depuis {since}",
    de="seit {since} tut {who.meinem} {who} {part.der} {part} weh",
  ),
  Template(
    "health.advice",
    {"advice": _ADVICE, "days": forms.numbers(2, 14)},
    en="the doctor says that you must {advice} for {days} days",
    fr="le médecin dit que tu dois {advice} pendant {days} jours",
    de="der arzt sagt dass du {days} tage {advice} musst",
  ),
  Template(
    "health.appointment",
    {"healer": _HEALERS, "day": lexicon.ON_DAYS, "time": lexicon.TIMES},
    en="i have an appointment with the {healer} {day} at {time}",
    fr="j'ai rendez vous chez {healer.le} {healer} {day} à {time}",
    de="ich habe {day} um {time} einen termin bei {healer.dem} {healer}",
  ),
  Template(
    "health.dose",
    {
      "count": forms.numbers(2, 9),
      "dose": _DOSES,
      "times": forms.numbers(2, 5),
      "when": _BEFORE_AFTER,
      "meal": lexicon.MEALS,
    },
    en="take {count} {dose} {times} times a day {when} {meal}",
    fr="prends {count} {dose} {times} fois par jour {when} le {meal}",
    de="nimm {count} {dose} {times} mal am tag {when} dem {meal}",
  ),
)

"""Relatives and friends: age, work, looks, homes."""

from audiopalm.data_pipelines.synthetic import forms, lexicon
from audiopalm.data_pipelines.synthetic.template import Template

_JOBS = tuple(
  forms.entry(en, {":m": fr.split()[0], ":f": fr.split()[-1]}, {":m": de_m, ":f": de_f})
  for en, fr, de_m, de_f in forms.rows("""
    cook | cuisinier cuisinière | koch | köchin
    baker | boulanger boulangère | bäcker | bäckerin
    nurse | infirmier infirmière | krankenpfleger | krankenpflegerin
    doctor | médecin | arzt | ärztin
    driver | conducteur conductrice | fahrer | fahrerin
    gardener | jardinier jardinière | gärtner | gärtnerin
    painter | peintre | maler | malerin
    singer | chanteur chanteuse | sänger | sängerin
    farmer | agriculteur agricultrice | bauer | bäuerin
    lawyer | avocat avocate | anwalt | anwältin
    engineer | ingénieur ingénieure | ingenieur | ingenieurin
    photographer | photographe | fotograf | fotografin
    hairdresser | coiffeur coiffeuse | friseur | friseurin
    waiter | serveur serveuse | kellner | kellnerin
  """)
)

_MORE = forms.adjectives("""
  taller | grand grande | größer
  smaller | petit petite | kleiner
  older | âgé âgée | älter
  younger | jeune | jünger
  stronger | fort forte | stärker
  faster | rapide | schneller
  richer | riche | reicher
  happier | heureux heureuse | glücklicher
  calmer | calme | ruhiger
""")

_HOMES = forms.nouns("""
  house | maison f | haus n
  flat | appartement m | wohnung f
  village | village m | dorf n
  castle | château m | schloss n
  hut | cabane f | hütte f
""")

_HAIR = forms.entries("""
  black | noirs | schwarze
  brown | bruns | braune
  grey | gris | graue
  white | blancs | weiße
  blond | blonds | blonde
  short | courts | kurze
  long | longs | lange
""")

_EYES = forms.entries("""
  blue | bleus | blaue
  green | verts | grüne
  brown | bruns | braune
  grey | gris | graue
  black | noirs | schwarze
""")

TEMPLATES = (
  Template(
    "family.age",
    {"who": lexicon.FAMILY, "years": forms.numbers(2, 99)},
    en="my {who} is {years} years old",
    fr="{who.mon} {who} a {years} ans",
    de="{who.mein} {who} ist {years} jahre alt",
  ),
  Template(
    "family.job",
    {"who": lexicon.FAMILY, "job": _JOBS, "city": lexicon.CITIES},
    en="my {who} works as a {job} in {city}",
    fr="{who.mon} {who} travaille comme {job:who} à {city}",
    de="{who.mein} {who} arbeitet als {job:who} in {city}",
  ),
  Template(
    "family.more",
    {"who": lexicon.FAMILY, "more": _MORE, "other": lexicon.FAMILY},
    en="my {who} is {more} than my {other}",
    fr="{who.mon} {who} est plus {more:who} que {other.mon} {other}",
    de="{who.mein} {who} ist {more} als {other.mein} {other}",
    unlike=("other", "who"),
  ),
  Template(
    "family.home",
    {"who": lexicon.FAMILY, "size": lexicon.SIZES, "home": _HOMES, "city": lexicon.CITIES},
    en="my {who} lives in a {size} {home} near {city}",
    fr="{who.mon} {who} habite dans {home.un} {size:home} {home} près de {city}",
    de="{who.mein} {who} wohnt in {home.einem} {size.einem:home} {home} bei {city}",
  ),
  Template(
    "family.children",
    {"who": lexicon.FAMILY, "sons": forms.numbers(2, 6), "daughters": forms.numbers(2, 6)},
    en="my {who} has {sons} sons and {daughters} daughters",
    fr="{who.mon} {who} a {sons} fils et {daughters} filles",
    de="{who.mein} {who} hat {sons} söhne und {daughters} töchter",
  ),
  Template(
    "family.visit",
    {"day": lexicon.ON_DAYS, "who": lexicon.FAMILY, "city": lexicon.CITIES},
    en="{day} we are visiting my {who} in {city}",
    fr="{day} nous rendons visite à {who.mon} {who} à {city}",
    de="{day} besuchen wir {who.meinen} {who} in {city}",
  ),
  Template(
    "family.looks",
    {"who": lexicon.FAMILY, "hair": _HAIR, "eyes": _EYES},
    en="my {who} has {hair} hair and {eyes} eyes",
    fr="{who.mon} {who} a les cheveux {hair} et les yeux {eyes}",
    de="{who.mein} {who} hat {hair} haare und {eyes} augen",
  ),
)

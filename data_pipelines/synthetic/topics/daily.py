"""What people do in a week, lose, find and ask for."""

from audiopalm.data_pipelines.synthetic import forms, lexicon
from audiopalm.data_pipelines.synthetic.template import Template

_PARTS = forms.entries("""
  morning | matin | morgen
  afternoon | après midi | nachmittag
  evening | soir | abend
""")

_HOBBIES = tuple(
  forms.entry(en, fr, {"": verb, "end": end})
  for en, fr, verb, end in forms.rows("""
    play tennis | joue au tennis | spiele | tennis
    play football | joue au football | spiele | fußball
    play chess | joue aux échecs | spiele | schach
    play cards | joue aux cartes | spiele | karten
    play the piano | joue du piano | spiele | klavier
    go swimming | vais nager | gehe | schwimmen
    go for a walk | me promène | gehe | spazieren
    go dancing | vais danser | gehe | tanzen
    watch a film | regarde un film | sehe | einen film
    listen to music | écoute de la musique | höre | musik
    cook dinner | prépare le dîner | koche | das abendessen
    learn french | apprends le français | lerne | französisch
    learn english | apprends l'anglais | lerne | englisch
    drink coffee | bois du café | trinke | kaffee
    eat pizza | mange de la pizza | esse | pizza
    work in the garden | travaille dans le jardin | arbeite | im garten
  """)
)

_DONE = forms.entries("""
  lost | perdu | verloren
  forgot | oublié | vergessen
  found | trouvé | gefunden
  saw | vu | gesehen
""")

_WHEN_PAST = lexicon.ON_DAYS + forms.entries("""
  yesterday | hier | gestern
  this morning | ce matin | heute morgen
""")

_WHEN_NEXT = lexicon.ON_DAYS + forms.entries("""
  today | aujourd'hui | heute
  tomorrow | demain | morgen
  this evening | ce soir | heute abend
""")

_CARRIED = lexicon.BELONGINGS + tuple(
  thing for thing in lexicon.THINGS if thing.en[""] in ("bag", "hat", "coat", "umbrella", "book")
)
_LAID = tuple(
  thing for thing in lexicon.THINGS if thing.en[""] not in ("car", "bike", "chair", "table")
)

_CHORES = forms.entries("""
  clean the kitchen | nettoyer la cuisine | die küche zu putzen
  wash the dishes | faire la vaisselle | das geschirr zu spülen
  repair the bike | réparer le vélo | das fahrrad zu reparieren
  paint the wall | peindre le mur | die wand zu streichen
  carry the table | porter la table | den tisch zu tragen
  open the window | ouvrir la fenêtre | das fenster zu öffnen
  find the key | trouver la clé | den schlüssel zu finden
  water the flowers | arroser les fleurs | die blumen zu gießen
  cook dinner | préparer le dîner | das abendessen zu kochen
  write a letter | écrire une lettre | einen brief zu schreiben
  feed the dog | nourrir le chien | den hund zu füttern
  mow the lawn | tondre la pelouse | den rasen zu mähen
""")

TEMPLATES = (
  Template(
    "daily.hobby",
    {"day": lexicon.DAYS, "part": _PARTS, "hobby": _HOBBIES, "who": lexicon.FAMILY},
    en="every {day} {part} i {hobby} with my {who}",
    fr="chaque {day} {part} je {hobby} avec {who.mon} {who}",
    de="jeden {day}{part} {hobby} ich mit {who.meinem} {who} {hobby.end}",
  ),
  Template(
    "daily.gets_up",
    {"day": lexicon.ON_DAYS, "who": lexicon.FAMILY, "time": lexicon.HALF_HOURS},
    en="{day} my {who} gets up at {time}",
    fr="{day} {who.mon} {who} se lève à {time}",
    de="{day} steht {who.mein} {who} um {time} auf",
  ),
  Template(
    "daily.lost",
    {"when": _WHEN_PAST, "done": _DONE, "item": _CARRIED, "place": lexicon.INSIDE},
    en="{when} i {done} my {item} in the {place}",
    fr="{when} j'ai {done} {item.mon} {item} à {place.le} {place}",
    de="{when} habe ich {item.meinen} {item} in {place.dem} {place} {done}",
  ),
  Template(
    "daily.put",
    {
      "color": lexicon.COLORS,
      "item": _LAID,
      "beside": lexicon.BESIDE,
      "furniture": lexicon.FURNITURE,
    },
    en="please put the {color} {item} {beside} the {furniture}",
    fr="mets {item.le} {item} {color:item} {beside} {furniture.le} {furniture} s'il te plaît",
    de="bitte leg {item.den} {color.den:item} {item} {beside} {furniture.den} {furniture}",
  ),
  Template(
    "daily.help",
    {"who": lexicon.FAMILY, "chore": _CHORES, "when": _WHEN_NEXT},
    en="can you help my {who} to {chore} {when}",
    fr="peux tu aider {who.mon} {who} à {chore} {when}",
    de="kannst du {when} {who.meinem} {who} helfen {chore}",
  ),
)

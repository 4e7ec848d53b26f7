"""Clothes, fruit and groceries."""

from audiopalm.data_pipelines.synthetic import forms, lexicon
from audiopalm.data_pipelines.synthetic.template import Template

_PRODUCE = forms.nouns("""
  apple apples | pomme pommes f | apfel äpfel m
  orange oranges | orange oranges f | orange orangen f
  lemon lemons | citron citrons m | zitrone zitronen f
  tomato tomatoes | tomate tomates f | tomate tomaten f
  potato potatoes | pomme_de_terre pommes_de_terre f | kartoffel kartoffeln f
  onion onions | oignon oignons m | zwiebel zwiebeln f
  egg eggs | oeuf oeufs m | ei eier n
  banana bananas | banane bananes f | banane bananen f
  pear pears | poire poires f | birne birnen f
  carrot carrots | carotte carottes f | karotte karotten f
  mushroom mushrooms | champignon champignons m | pilz pilze m
  peach peaches | pêche pêches f | pfirsich pfirsiche m
""")

_CLOTHES = forms.nouns("""
  dress | robe f | kleid n
  skirt | jupe f | rock m
  jacket | veste f | jacke f
  sweater | pull m | pullover m
  shirt | chemise f | hemd n
  coat | manteau m | mantel m
  hat | chapeau m | hut m
  scarf | écharpe f | schal m
  suit | costume m | anzug m
  tie | cravate f | krawatte f
  cap | casquette f | mütze f
  belt | ceinture f | gürtel m
  blouse | chemisier m | bluse f
  ring | bague f | ring m
""")

_FIT = forms.adjectives("""
  big | grand grande | groß
  small | petit petite | klein
  long | long longue | lang
  short | court courte | kurz
  wide | large large | breit
  narrow | étroit étroite | eng
  expensive | cher chère | teuer
  thin | fin fine | dünn
  heavy | lourd lourde | schwer
""")

_GROCERIES = lexicon.FOODS + lexicon.EXTRAS[:3] + lexicon.DRINKS[:5]

TEMPLATES = (
  Template(
    "shopping.want",
    {
      "count": forms.numbers(2, 9),
      "fruit": _PRODUCE,
      "more": forms.numbers(2, 9),
      "other": _PRODUCE,
    },
    en="i would like {count} {fruit.s} and {more} {other.s} please",
    fr="je voudrais {count} {fruit.s} et {more} {other.s} s'il vous plaît",
    de="ich möchte bitte {count} {fruit.s} und {more} {other.s}",
    unlike=("other", "fruit"),
  ),
  Template(
    "shopping.colour",
    {"piece": _CLOTHES, "color": lexicon.COLORS},
    en="do you have this {piece} in {color}",
    fr="avez vous {piece.ce} {piece} en {color}",
    de="haben sie {piece.diesen} {piece} in {color}",
  ),
  Template(
    "shopping.fit",
    {"piece": _CLOTHES, "fit": _FIT, "who": lexicon.FAMILY},
    en="the {piece} is too {fit} for my {who}",
    fr="{piece.le} {piece} est trop {fit:piece} pour {who.mon} {who}",
    de="{piece.der} {piece} ist zu {fit} für {who.meinen} {who}",
  ),
  Template(
    "shopping.present",
    {"color": lexicon.COLORS, "piece": _CLOTHES, "who": lexicon.FAMILY},
    en="we are buying a {color} {piece} for our {who}",
    fr="nous achetons {piece.un} {piece} {color:piece} pour {who.notre} {who}",
    de="wir kaufen {piece.einen} {color.einen:piece} {piece} für {who.unseren} {who}",
  ),
  Template(
    "shopping.need",
    {"food": _GROCERIES, "other": _GROCERIES, "meal": lexicon.MEALS},
    en="we need {food} and {other} for {meal}",
    fr="il nous faut de {food.le} {food} et de {other.le} {other} pour le {meal}",
    de="wir brauchen {food} und {other} für das {meal}",
    unlike=("other", "food"),
  ),
)

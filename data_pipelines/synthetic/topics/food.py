"""Meals, drinks, recipes."""

from audiopalm.data_pipelines.synthetic import forms, lexicon
from audiopalm.data_pipelines.synthetic.template import Template

_VESSELS = forms.nouns("""
  cup | tasse f | tasse f
  glass | verre m | glas n
  bottle | bouteille f | flasche f
""")

_BESIDES = (
  lexicon.EXTRAS[1:2]
  + lexicon.EXTRAS[5:7]
  + lexicon.FOODS[:2]
  + forms.nouns("""
  ice | glace f | eis n
  cake | gâteau m | kuchen m
""")
)

_DISHES = lexicon.FOODS + forms.nouns("""
  cake | gâteau m | kuchen m
  pizza | pizza f | pizza f
  coffee | café m | kaffee m
  wine | vin m | wein m
""")

_TASTES = forms.adjectives("""
  cold | froid froide | kalt
  hot | chaud chaude | heiß
  salty | salé salée | salzig
  sweet | sucré sucrée | süß
  expensive | cher chère | teuer
  good | bon bonne | gut
  bad | mauvais mauvaise | schlecht
  fresh | frais fraîche | frisch
""")

_HOW = forms.entries("""
  very | très | sehr
  too | trop | zu
  always | toujours | immer
  really | vraiment | wirklich
""")

_DRY = forms.nouns("""
  flour | farine f | mehl n
  sugar | sucre m | zucker m
  butter | beurre m | butter f
  rice | riz m | reis m
  cheese | fromage m | käse m
  chocolate | chocolat m | schokolade f
""")

_LIQUID = forms.nouns("""
  milk | lait m | milch f
  water | eau f | wasser n
  oil | huile f | öl n
  honey | miel m | honig m
  cream | crème f | sahne f
  juice | jus m | saft m
""")

_LIKED = lexicon.FOODS + lexicon.EXTRAS[:3] + lexicon.DRINKS

TEMPLATES = (
  Template(
    "food.meal",
    {
      "meal": lexicon.MEALS,
      "who": lexicon.FAMILY,
      "food": lexicon.FOODS,
      "extra": lexicon.EXTRAS,
    },
    en="for {meal} my {who} eats {food} with {extra}",
    fr="au {meal} {who.mon} {who} mange de {food.le} {food} avec de {extra.le} {extra}",
    de="zum {meal} isst {who.mein} {who} {food} mit {extra}",
  ),
  Template(
    "food.offer",
    {"vessel": _VESSELS, "drink": lexicon.DRINKS, "extra": _BESIDES},
    en="would you like a {vessel} of {drink} with {extra}",
    fr="voulez vous {vessel.un} {vessel} de {drink} avec de {extra.le} {extra}",
    de="möchten sie {vessel.einen} {vessel} {drink} mit {extra}",
  ),
  Template(
    "food.dish",
    {"dish": _DISHES, "how": _HOW, "taste": _TASTES},
    en="the {dish} in this restaurant is {how} {taste}",
    fr="{dish.le} {dish} dans ce restaurant est {how} {taste:dish}",
    de="{dish.der} {dish} in diesem restaurant ist {how} {taste}",
  ),
  Template(
    "food.mix",
    {
      "grams": forms.numbers(100, 900, 100),
      "dry": _DRY,
      "spoons": forms.numbers(2, 9),
      "liquid": _LIQUID,
    },
    en="mix {grams} grams of {dry} with {spoons} spoons of {liquid}",
    fr="mélangez {grams} grammes de {dry} avec {spoons} cuillères de {liquid}",
    de="mischen sie {grams} gramm {dry} mit {spoons} löffeln {liquid}",
  ),
  Template(
    "food.likes",
    {"who": lexicon.FAMILY, "food": _LIKED, "other": _LIKED},
    en="my {who} does not like {food} but {who.he} likes {other}",
    fr="{who.mon} {who} n'aime pas {food.le} {food} mais {who.il} aime {other.le} {other}",
    de="{who.mein} {who} mag {food.keinen} {food} aber {who.er} mag {other}",
    unlike=("other", "food"),
  ),
)

"""What things cost."""

from audiopalm.data_pipelines.synthetic import forms, lexicon
from audiopalm.data_pipelines.synthetic.template import Template

_PRICES = forms.numbers(2, 99)
_THING = {"color": lexicon.COLORS, "thing": lexicon.THINGS}

TEMPLATES = (
  Template(
    "prices.costs",
    _THING | {"price": _PRICES},
    en="the {color} {thing} costs {price} euros",
    fr="{thing.le} {thing} {color:thing} coûte {price} euros",
    de="{thing.der} {color.der:thing} {thing} kostet {price} euro",
  ),
  Template(
    "prices.paid",
    _THING | {"price": _PRICES},
    en="i paid {price} euros for the {color} {thing}",
    fr="j'ai payé {price} euros pour {thing.le} {thing} {color:thing}",
    de="ich habe {price} euro für {thing.den} {color.den:thing} {thing} bezahlt",
  ),
  Template(
    "prices.sells",
    _THING | {"price": _PRICES},
    en="she sells her {color} {thing} for {price} euros",
    fr="elle vend {thing.son} {thing} {color:thing} pour {price} euros",
    de="sie verkauft {thing.ihren} {color.einen:thing} {thing} für {price} euro",
  ),
  Template(
    "prices.question",
    _THING,
    en="how much does the {color} {thing} cost",
    fr="combien coûte {thing.le} {thing} {color:thing}",
    de="wie viel kostet {thing.der} {color.der:thing} {thing}",
  ),
  Template(
    "prices.too_much",
    _THING | {"price": _PRICES},
    en="{price} euros is too much for this {color} {thing}",
    fr="{price} euros c'est trop pour {thing.ce} {thing} {color:thing}",
    de="{price} euro sind zu viel für {thing.diesen} {color.den:thing} {thing}",
  ),
)

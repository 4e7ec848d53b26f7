"""What things cost."""

from audiopalm.data_pipelines.synthetic import forms, lexicon
from audiopalm.data_pipelines.synthetic.template import Template

_PRICES = forms.numbers(2, 99)
_THING = {"colour": lexicon.COLOURS, "thing": lexicon.THINGS}

TEMPLATES = (
  Template(
    "prices.costs",
    _THING | {"price": _PRICES},
    en="the {colour} {thing} costs {price} euros",
    fr="{thing.le} {thing} {colour:thing} coûte {price} euros",
    de="{thing.der} {colour.der:thing} {thing} kostet {price} euro",
  ),
  Template(
    "prices.paid",
    _THING | {"price": _PRICES},
    en="i paid {price} euros for the {colour} {thing}",
    fr="j'ai payé {price} euros pour {thing.le} {thing} {colour:thing}",
    de="ich habe {price} euro für {thing.den} {colour.den:thing} {thing} bezahlt",
  ),
  Template(
    "prices.sells",
    _THING | {"price": _PRICES},
    en="she sells her {colour} {thing} for {price} euros",
    fr="elle vend {thing.son} {thing} {colour:thing} pour {price} euros",
    de="sie verkauft {thing.ihren} {colour.einen:thing} {thing} für {price} euro",
  ),
  Template(
    "prices.question",
    _THING,
    en="how much does the {colour} {thing} cost",
    fr="combien coûte {thing.le} {thing} {colour:thing}",
    de="wie viel kostet {thing.der} {colour.der:thing} {thing}",
  ),
  Template(
    "prices.too_much",
    _THING | {"price": _PRICES},
    en="{price} euros is too much for this {colour} {thing}",
    fr="{price} euros c'est trop pour {thing.ce} {thing} {colour:thing}",
    de="{price} euro sind zu viel für {thing.diesen} {colour.den:thing} {thing}",
  ),
)

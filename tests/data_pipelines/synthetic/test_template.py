from audiopalm.data_pipelines.synthetic import forms
from audiopalm.data_pipelines.synthetic.template import Template

THINGS = forms.nouns("""
  car | voiture f | auto n
  hat | chapeau m | hut m
  tree | arbre m | baum m
""")
COLORS = forms.adjectives("""
  red | rouge | rot
  green | vert verte | grün
""")


def test_sentences_count_through_all_slot_values_the_last_one_fastest():
  template = Template(
    "t",
    {"thing": THINGS, "color": COLORS},
    en="the {color} {thing}",
    fr="{thing.le} {thing} {color:thing}",
    de="{thing.der} {color.der:thing} {thing} und {thing.ein} {color.ein:thing} {thing}",
  )
  assert len(template) == 6
  assert [template.texts("en", index)[0] for index in range(6)] == [
    "the red car", "the green car", "the red hat", "the green hat", "the red tree",
    "the green tree",
  ]  # fmt: skip
  assert template.texts("fr", 1) == ("la voiture verte",)
  assert template.texts("fr", 5) == ("l'arbre vert",)
  assert template.texts("de", 1) == ("das grüne auto und ein grünes auto",)
  assert template.texts("de", 3) == ("der grüne hut und ein grüner hut",)


def test_unlike_slots_never_have_equal_values():
  template = Template(
    "t",
    {"one": THINGS, "color": COLORS, "other": THINGS},
    en=("{one} and {color} {other}", "{other}"),
    fr=("", ""),
    de=("", ""),
    unlike=("other", "one"),
  )
  assert len(template) == 3 * 2 * 2
  texts = [template.texts("en", index) for index in range(len(template))]
  assert len(set(texts)) == 12
  assert all(question.split()[0] != answer for question, answer in texts)

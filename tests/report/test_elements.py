from html.parser import HTMLParser
from xml.etree import ElementTree

from audiopalm.report import elements
from audiopalm.report.elements import element


def shown(made):
  return ElementTree.tostring(made, encoding="unicode", method="html")


def test_texts_and_attributes_are_escaped():
  made = element("p", 'a < b & "c"', title='<"&')
  assert shown(made) == '<p title="<&quot;&amp;">a &lt; b &amp; "c"</p>'


def test_children_keep_their_order_whatever_they_are():
  made = element("p", "a", element("b", 1), ["c", None, element("i")], "d")
  assert shown(made) == "<p>a<b>1</b>c<i></i>d</p>"


def test_an_attribute_may_be_left_out_or_have_no_value():
  assert shown(element("audio", src=None, controls=True, class_="a", aria_label="b")) == (
    '<audio controls="controls" class="a" aria-label="b"></audio>'
  )


def test_characters_that_no_page_may_hold_are_shown_as_pictures():
  assert shown(element("p", "a\a\0b\x9f\ud800\n")) == "<p>a␇␀b\ufffd\ufffd\n</p>"


def test_a_number_is_shown_short_and_kept_exact():
  assert shown(elements.number(1 / 3, ".3f")) == (
    '<td><data value="0.3333333333333333">0.333</data></td>'
  )
  assert shown(elements.number(1_000, lambda value: f"{value / 1_000}k")) == (
    '<td><data value="1000">1.0k</data></td>'
  )
  assert shown(elements.number(None)) == '<td class="none">–</td>'


def test_a_page_forbids_the_browser_to_load_anything():
  policy = []

  class Parser(HTMLParser):
    def handle_starttag(self, tag, attrs):
      if tag == "meta" and "http-equiv" in dict(attrs):
        policy.append(dict(attrs)["content"])

  Parser().feed(elements.page("a & b", element("p", "c"), [], []))
  assert policy == ["default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'"]


def test_a_table_scrolls_in_a_box_that_a_keyboard_reaches():
  box = elements.table(["a", "b"], [elements.row("x", 1)], "numbers")
  assert (box.get("class"), box.get("tabindex"), box.get("aria-label")) == (
    "scroll", "0", "numbers",
  )  # fmt: skip
  assert [cell.tag for cell in box.iter() if cell.tag in ("th", "td")] == ["th", "th", "th", "td"]


def test_a_bar_is_never_wider_than_its_cell():
  assert "width:100.00%" in shown(elements.bar(7.0))
  assert "width:25.00%" in shown(elements.bar(0.25, color=2))

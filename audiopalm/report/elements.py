"""HTML as a tree of elements, serialized at the end: text is escaped, tags are closed."""

from collections.abc import Callable, Iterable, Sequence
from xml.etree import ElementTree

from audiopalm.report import style

Element = ElementTree.Element
Child = Element | str | int | float | None | Iterable["Child"]

# Characters that HTML forbids but models may generate. They are replaced by pictures such as ␇.
_SHOWN = {code: 0x2400 + code for code in range(32) if chr(code) not in "\t\n"}
_SHOWN |= {0x7F: 0x2421} | dict.fromkeys((*range(0x80, 0xA0), *range(0xD800, 0xE000)), 0xFFFD)

# The browser may not load anything from outside the page.
_POLICY = "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'"


def element(name: str, /, *children: Child, **attributes: object) -> Element:
  """Returns an element. Children are elements, texts, numbers, None (nothing) or lists of these.

  Attributes that are None are left out; True repeats the attribute's name as its value. In names a
  trailing _ is removed, as in class_, and other _ become -.

      element("p", "a < b", class_="note", aria_label=None)  ->  <p class="note">a &lt; b</p>
  """
  node = Element(name)
  for key, value in attributes.items():
    if value is not None:
      text = key if value is True else str(value)
      node.set(key.rstrip("_").replace("_", "-"), text.translate(_SHOWN))
  _append(node, children)
  return node


def _append(node: Element, children: Iterable[Child]) -> None:
  for child in children:
    if isinstance(child, Element):
      node.append(child)
    elif isinstance(child, str | int | float):
      text = str(child).translate(_SHOWN)
      if len(node):
        node[-1].tail = (node[-1].tail or "") + text
      else:
        node.text = (node.text or "") + text
    elif child is not None:
      _append(node, child)


def page(
  title: str,
  header: Element,
  gaps: Iterable[tuple[str, str]],
  parts: Iterable[tuple[str, str, Sequence[Child]]],
  footer: Child = None,
) -> str:
  """Returns a self-contained HTML page: a header, links to the parts, the gaps, and the parts.

  `gaps` are (what is missing, the command that makes it). `parts` are (id, title, content); one
  without content is left out.
  """
  parts = [part for part in parts if part[2]]
  head = element(
    "head",
    element("meta", charset="utf-8"),
    element("meta", name="viewport", content="width=device-width, initial-scale=1"),
    element("meta", name="color-scheme", content="light dark"),
    element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
    element("title", title),
    element("style", style.SHEET),
  )
  main = element(
    "main",
    header,
    element("nav", [element("a", title, href=f"#{id}") for id, title, _ in parts]),
    [missing(f"{what} ", element("code", command)) for what, command in gaps],
    [[element("h2", title, id=id), *content] for id, title, content in parts],
    footer,
  )
  root = element("html", head, element("body", main), lang="en")
  return "<!doctype html>\n" + ElementTree.tostring(root, encoding="unicode", method="html") + "\n"


def missing(*what: Child) -> Element:
  """Returns a note about something that is missing."""
  return element("div", element("p", *what), class_="missing")


def table(head: Iterable[Child], rows: Iterable[Element], name: str) -> Element:
  """Returns a table that scrolls in a box of its own; `rows` are results of `row`.

  Column titles in `head` are texts or `th` elements. `name` is the label for screen readers.
  """
  titles = [_cell("th", title, scope="col") for title in head]
  body = element("tbody", *rows)
  content = element("table", element("thead", element("tr", titles)), body)
  return element("div", content, class_="scroll", tabindex="0", role="region", aria_label=name)


def row(what: Child, *cells: Child, class_: str | None = None) -> Element:
  """Returns a row of a table: its name, then its cells, as texts or as `th` and `td` elements."""
  name = _cell("th", what, scope="row")
  return element("tr", name, [_cell("td", cell) for cell in cells], class_=class_)


def _cell(tag: str, content: Child, **attributes: str) -> Element:
  whole = isinstance(content, Element) and content.tag == tag
  return content if whole else element(tag, content, **attributes)


def number(value: float | None, shown: str | Callable[[float], str] = ",") -> Element:
  """Returns a cell with a number formatted by a format spec or a function, "–" for None. The value
  of its `data` element is the exact number."""
  if value is None:
    return element("td", "–", class_="none")
  text = shown(value) if callable(shown) else f"{value:{shown}}"
  return element("td", element("data", text, value=repr(value)))


def folded(summary: Child, *content: Child) -> Element:
  """Returns content that is shown when its summary is clicked."""
  return element("details", element("summary", summary), *content)


def bar(share: float, color: int = 0) -> Element:
  """Returns a cell with a bar that fills `share` (0 to 1) of its width."""
  width = f"width:{min(max(share, 0), 1):.2%}"
  return element("td", element("span", class_=f"bar fill{color}", style=width), class_="bars")

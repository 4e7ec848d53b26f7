"""The style sheet of the pages, for phones and desktops, light and dark.

Colors of series have a contrast of at least 3:1 to their background in both modes and also differ
in lightness, after Okabe and Ito, "Color universal design", 2008. Series have labels, and more than
COLORS of them differ in dashes.
"""

COLORS = 8

SHEET = """
:root {
  --paper: #fdfdfc; --card: #ffffff; --ink: #1c1f23; --soft: #5b636d; --line: #dfe2e6;
  --grid: #e9ebee; --accent: #005f9e; --good: #00694a; --mark: #ffe2d6; --notice: #fff5dc;
  --edge: #c98a00;
  --s0: #0072b2; --s1: #c44d00; --s2: #00805c; --s3: #a8447f; --s4: #8a6a00; --s5: #3b3f8f;
  --s6: #2b8aa8; --s7: #6b6f76;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14171a; --card: #1c2024; --ink: #e8eaed; --soft: #a2abb5; --line: #343a41;
    --grid: #2a2f35; --accent: #7cc4f5; --good: #4fd0a3; --mark: #5c2d1a; --notice: #33290f;
    --edge: #e0a92e;
    --s0: #56b4e9; --s1: #ff8f45; --s2: #2fc795; --s3: #e58fc1; --s4: #e9c846; --s5: #a9acff;
    --s6: #8fe0ee; --s7: #b4bac2;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; color-scheme: light dark; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
main { max-width: 1240px; margin: 0 auto; padding: 28px 16px 64px; overflow-wrap: break-word; }
h1 { font-size: clamp(1.7rem, 1.3rem + 1.6vw, 2.5rem); line-height: 1.15; margin: 0 0 6px;
  letter-spacing: -0.02em; }
h2 { font-size: 1.35rem; margin: 48px 0 6px; letter-spacing: -0.01em; }
h3 { font-size: 1.05rem; margin: 28px 0 8px; }
p { margin: 6px 0 12px; max-width: 75ch; }
a { color: var(--accent); }
code, pre, kbd { font: 0.88em/1.5 ui-monospace, "Cascadia Mono", Menlo, Consolas, monospace; }
small, .note, figcaption p, .legend { color: var(--soft); font-size: 0.875rem; }
nav { display: flex; flex-wrap: wrap; gap: 4px 18px; margin: 16px 0 0; font-size: 0.95rem; }
.kicker { color: var(--soft); font-size: 0.95rem; margin: 0 0 4px; }
.tiles, .charts, .examples { display: grid; gap: 14px; padding: 0; list-style: none;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 285px), 1fr)); }
.tiles { grid-template-columns: repeat(auto-fill, minmax(148px, 1fr)); gap: 10px;
  margin: 20px 0 0; }
.tiles li, .chart, .example, .scroll, pre { background: var(--card); border: 1px solid var(--line);
  border-radius: 10px; padding: 12px 14px; min-width: 0; }
.tiles b { display: block; font-size: 1.3rem; font-weight: 650; letter-spacing: -0.01em; }
.tiles span { color: var(--soft); font-size: 0.85rem; }
.missing { background: var(--notice); border-left: 4px solid var(--edge); padding: 10px 14px;
  border-radius: 0 8px 8px 0; margin: 16px 0; }
.missing p { margin: 0; }
.missing code { overflow-wrap: anywhere; }
.scroll { overflow-x: auto; margin: 10px 0; padding: 0; max-width: 100%; }
table { border-collapse: separate; border-spacing: 0; width: 100%; font-size: 0.92rem;
  font-variant-numeric: tabular-nums; }
th, td { padding: 7px 12px; text-align: right; white-space: nowrap;
  border-bottom: 1px solid var(--grid); }
tbody tr:last-child > * { border-bottom: 0; }
thead th { color: var(--soft); font-weight: 550; font-size: 0.84rem; vertical-align: bottom; }
th:first-child { text-align: left; position: sticky; left: 0; background: var(--card); }
tbody th { font-weight: 500; }
td.none { color: var(--soft); }
td.text, th.text { text-align: left; }
tr.sub th { padding-left: 28px; font-weight: 400; color: var(--soft); }
tr.lead > * { font-weight: 650; }
tr.part th { color: var(--soft); font-size: 0.84rem; padding-top: 14px; }
td.best { font-weight: 700; color: var(--good); }
td.best::before { content: "\\2605\\00a0"; font-size: 0.8em; }
td.wrap { white-space: normal; min-width: 104px; overflow-wrap: anywhere; }
th.wrap { white-space: normal; min-width: 160px; overflow-wrap: anywhere; }
td.bars { width: 40%; min-width: 110px; }
.bar { display: block; height: 12px; min-width: 2px; border-radius: 3px; }
@media (max-width: 520px) { th, td { padding: 7px 8px; } }
.charts { margin: 12px 0; }
figure { margin: 0; min-width: 0; }
.chart figcaption { font-weight: 600; font-size: 0.98rem; line-height: 1.3; }
.chart figcaption p { font-weight: 400; margin: 2px 0 0; }
svg { display: block; width: 100%; height: auto; overflow: hidden; }
svg text { fill: var(--soft); font: 13px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
svg .back { fill: var(--grid); opacity: 0.5; }
svg .grid { stroke: var(--grid); }
svg .axis { stroke: var(--soft); stroke-width: 1; fill: none; }
svg .line { fill: none; stroke-width: 2; stroke-linejoin: round; }
svg .faint { stroke-width: 1.25; opacity: 0.65; }
svg .dash1 { stroke-dasharray: 6 3; }
svg .dash2 { stroke-dasharray: 2 3; }
.legend { display: flex; flex-wrap: wrap; gap: 2px 14px; margin: 4px 0 2px; padding: 0;
  list-style: none; }
.legend li { display: flex; align-items: center; gap: 6px; }
.legend svg, .run svg { width: 24px; height: 10px; flex: none; }
.examples.wide { grid-template-columns: minmax(0, 1fr); }
.example header { display: flex; flex-wrap: wrap; gap: 2px 10px; align-items: baseline;
  color: var(--soft); font-size: 0.875rem; margin-bottom: 6px; }
.example header b { color: var(--ink); }
.recordings { display: grid; gap: 8px 16px;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 250px), 1fr)); }
.recordings dl:nth-child(n + 5), .recordings dl.long { grid-column: 1 / -1; }
.recordings figcaption { font-size: 0.875rem; font-weight: 600; margin-bottom: 2px; }
.recordings figcaption span { font-weight: 400; color: var(--soft); }
.recordings svg text { font-size: 10.5px; }
audio { display: block; width: 100%; height: 36px; margin-top: 4px; }
dl { margin: 2px 0 0; display: grid; grid-template-columns: max-content minmax(0, 1fr);
  gap: 3px 12px; align-content: start; align-items: baseline; line-height: 1.4; }
dt { color: var(--soft); font-size: 0.84rem; }
dd { margin: 0; font-size: 0.95rem; }
mark { background: var(--mark); color: inherit; border-radius: 3px; padding: 0 3px;
  text-decoration: underline; text-decoration-thickness: 2px; text-underline-offset: 3px; }
del { color: var(--soft); }
details { margin: 8px 0; }
summary { cursor: pointer; padding: 4px 0; color: var(--accent); }
pre { overflow: auto; max-height: 70vh; }
.run { display: inline-flex; align-items: center; gap: 6px; }
footer { margin-top: 48px; border-top: 1px solid var(--line); padding-top: 12px; }
""" + "".join(
  f"svg .s{n} {{ stroke: var(--s{n}); }} svg .fill{n} {{ fill: var(--s{n}); stroke: none; }} "
  f".fill{n} {{ background: var(--s{n}); }}\n"
  for n in range(COLORS)
)

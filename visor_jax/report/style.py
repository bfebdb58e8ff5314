"""The looks of the page, by hand and small."""

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{css}</style>
</head>
<body><main>
{body}
</main><script>{script}</script></body>
</html>
"""

# Numbers sort as numbers, largest first; what is none stays below.
SCRIPT = """
for (const head of document.querySelectorAll('.sorts th'))
  head.onclick = () => {
    const body = head.closest('table').tBodies[0];
    const key = (line) => line.cells[head.cellIndex].textContent;
    const number = (line) => parseFloat(key(line).replaceAll(',', ''));
    const words = head.classList.contains('word');
    const first = words ? 'ascending' : 'descending';
    const other = words ? 'descending' : 'ascending';
    const order = head.ariaSort === first ? other : first;
    const sign = order === 'ascending' ? 1 : -1;
    const by = (a, b) => {
      if (words) return sign * key(a).localeCompare(key(b));
      const [x, y] = [number(a), number(b)];
      return isNaN(x) - isNaN(y) || sign * (x - y);
    };
    for (const each of head.parentNode.cells) each.ariaSort = 'none';
    head.ariaSort = order;
    body.append(...[...body.rows].sort(by));
  };
"""

CSS = """
:root { color-scheme: light dark;
  --paper: #fff; --ink: #1a1c1f; --soft: #5b6169; --line: #dfe2e6;
  --doubt: #fff3d6; }
@media (prefers-color-scheme: dark) { :root {
  --paper: #15171a; --ink: #e9eaec; --soft: #a3a9b1; --line: #33373d;
  --doubt: #3a2f12; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 71rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.1rem; color: var(--soft); font-weight: 600; }
h2 { font-size: 1.15rem; margin: 3rem 0 .75rem; }
.verdict { font-size: clamp(1.15rem, 3.2vw, 1.5rem); line-height: 1.45; }
main > p { max-width: 54rem; }
.how { color: var(--soft); font-size: .875rem; max-width: 44rem; }
.doubt { background: var(--doubt); padding: .5rem .75rem; border-radius: 4px;
  font-size: .875rem; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
.pair, .drawings { display: flex; flex-wrap: wrap; gap: .75rem 2.5rem; }
.pair section, .drawings > div { max-width: 100%; }
svg { display: block; height: auto; }
svg text { font-family: inherit !important; }
table { border-collapse: collapse; font-size: .875rem; white-space: nowrap;
  font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .75rem; text-align: right; font-weight: 400;
  border-bottom: 1px solid var(--line); }
thead th { color: var(--soft); vertical-align: bottom; }
.word { text-align: left; }
.word:first-child { padding-left: 0; position: sticky; left: 0;
  background: var(--paper); }
i { display: inline-block; width: .7em; height: .7em; margin-right: .45em;
  border-radius: 2px; }
.sorts th { cursor: pointer; }
.sorts th[aria-sort=ascending]::after { content: " \\2191"; }
.sorts th[aria-sort=descending]::after { content: " \\2193"; }
.pictures td { text-align: left; vertical-align: top; color: var(--soft); }
figure { display: inline-block; vertical-align: top; margin: .25rem .75rem; }
figure img { display: block; height: 7rem; image-rendering: pixelated; }
figcaption { color: var(--ink); white-space: normal; max-width: 9rem;
  overflow-wrap: anywhere; }
/* These do not decide how wide their section is; its drawings do. */
.legend, section > .how { width: 0; min-width: min(100%, 44rem); }
.legend span { margin-right: 1rem; white-space: nowrap;
  font-size: .875rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1.5rem;
  font-size: .875rem; }
dt { color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; }
pre { overflow-x: auto; font-size: .8125rem; }
"""

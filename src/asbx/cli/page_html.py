"""Pages of HTML that need nothing beside them: no script, no style sheet, no font from elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape

from asbx.decide.cost import usd_of

# Widths in characters: a page is read on a screen and printed on A4.
_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;color:#1a1a1a;background:#fff;max-width:75rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.6rem;margin:0 0 .25rem}h2{font-size:1.2rem;margin:2rem 0 .5rem}p.note{color:#555;margin:.25rem 0}
div.scroll{overflow-x:auto}table{border-collapse:collapse;margin:.5rem 0;font-variant-numeric:tabular-nums}
th,td{padding:.25rem .75rem;text-align:right;border-bottom:1px solid #ddd;overflow-wrap:anywhere}
th.word,td.word{text-align:left}th{border-bottom:2px solid #888}tfoot td{font-weight:bold;border-top:2px solid #888}
figure{margin:1rem 0}figure svg{width:100%;height:auto}@media print{body{margin:0}figure{break-inside:avoid}}
"""


def page(title: str, parts: Iterable[str]) -> str:
    """Return a page. parts: HTML. Its content policy forbids scripts and anything from elsewhere."""
    body = "\n".join(parts)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
{body}
</body>
</html>
"""


def table(
    header: Sequence[str], rows: Sequence[Sequence[str]], footer: Sequence[str] | None = None, words: int = 1
) -> str:
    """Return a table of texts. words: how many columns from the left are words, not numbers."""
    if not rows:
        return "<p>none</p>"
    kinds = [' class="word"' if index < words else "" for index in range(len(header))]
    head = "".join(f'<th scope="col"{kind}>{escape(text)}</th>' for text, kind in zip(header, kinds, strict=True))
    body = "\n".join(_row(row, kinds) for row in rows)
    foot = f"<tfoot>{_row(footer, kinds)}</tfoot>" if footer else ""
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>{foot}</table></div>'


def _row(cells: Sequence[str], kinds: Sequence[str]) -> str:
    inner = "".join(f"<td{kind}>{escape(text)}</td>" for text, kind in zip(cells, kinds, strict=True))
    return f"<tr>{inner}</tr>"


def figure(svg: str, title: str, prefix: str = "") -> str:
    """Return an SVG file as a part of a page. prefix: tells its names from those of other figures of the page."""
    element = svg[svg.index("<svg") :]
    if prefix:
        element = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{prefix}-", element)
    named = element.replace("<svg", f'<svg role="img" aria-label="{escape(title)}"', 1)
    return f"<figure>{named}</figure>"


def usd(nanos: int) -> str:
    """Return an amount for people."""
    return f"{usd_of(nanos):,.4f}"

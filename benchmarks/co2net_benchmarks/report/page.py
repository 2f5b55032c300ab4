"""The HTML around a report: one page, readable on paper and on a small screen, no scripts."""

import html

_STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff;
       max-width: 1320px; margin: 2rem auto; padding: 0 1.2rem; }
h1 { font-size: 1.7rem; margin-bottom: .4rem; }
h2 { font-size: 1.3rem; margin: 2.4rem 0 .6rem; padding-bottom: .2rem;
     border-bottom: 2px solid #0072b2; }
h3 { font-size: 1rem; margin: 1.6rem 0 .4rem; }
ul.facts { color: #444; font-size: .86rem; padding-left: 1.1rem; }
figure { margin: 1rem 0; break-inside: avoid; }
figure svg { max-width: 100%; height: auto; }
figcaption, .note { color: #555; font-size: .86rem; max-width: 60rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .84rem; font-variant-numeric: tabular-nums; }
th, td { padding: .22rem .5rem; text-align: right; white-space: nowrap; }
th.left, td.left { text-align: left; }
thead th { border-bottom: 1px solid #888; vertical-align: bottom; }
tbody tr:nth-child(even) { background: #f4f6f8; }
"""


def render_page(title: str, body: str) -> str:
    """Return a whole HTML document; `body` is HTML, `title` is text."""
    escaped = html.escape(title)
    return (
        "<!doctype html>\n"
        f'<html lang="en"><head><meta charset="utf-8"><title>{escaped}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>{_STYLE}</style></head>\n<body>\n<h1>{escaped}</h1>\n{body}\n</body></html>\n"
    )

# SPDX-License-Identifier: Apache-2.0 OR MIT
"""The comparison as one SVG: a group of bars a cell, a colour a provider, the ceiling as a line."""

from __future__ import annotations

from html import escape

BAR, GAP, LEFT, WIDTH, RIGHT, TOP = 9, 9, 270, 520, 70, 58
COLOURS = ("#1b6ca8", "#5aa7de", "#d1702a", "#7a9e3f", "#8a5fa8", "#b0483f", "#888888")


def draw(title: str, subtitle: str, groups: list, ceiling: float, unit: str) -> str:
    """groups: [(label, {provider: rate})]. Rates in `unit`; a ceiling of 0 is not drawn."""
    providers = list(dict.fromkeys(name for _, rates in groups for name in rates))
    colours = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(providers)}
    most = max([ceiling, *(rate for _, rates in groups for rate in rates.values())], default=1.0)
    body, y = _legend(colours), TOP
    for label, rates in groups:
        body.append(_text(LEFT - 8, y + BAR * len(rates) / 2 + 4, label, anchor="end"))
        for name, rate in rates.items():
            length = WIDTH * rate / most
            body.append(f'<rect x="{LEFT}" y="{y}" width="{length:.1f}" height="{BAR - 1}" '
                        f'fill="{colours[name]}"/>')
            body.append(_text(LEFT + length + 4, y + BAR - 1, f"{rate:.0f}", size=9))
            y += BAR
        y += GAP
    if ceiling:
        x = LEFT + WIDTH * ceiling / most
        body.append(f'<line x1="{x:.1f}" y1="{TOP - 6}" x2="{x:.1f}" y2="{y}" stroke="#444" '
                    'stroke-dasharray="4 3"/>')
        body.append(_text(x, y + 10, f"measured ceiling {ceiling:.0f} {unit}", anchor="end"))
    return _document(title, f"{subtitle}, {unit}", body, y + 20)


def _legend(colours: dict) -> list:
    made, x = [], LEFT
    for name, colour in colours.items():
        made += [f'<rect x="{x}" y="38" width="10" height="10" fill="{colour}"/>',
                 _text(x + 14, 47, name)]
        x += 24 + 7 * len(name)
    return made


def _text(x: float, y: float, text: str, size: int = 11, anchor: str = "start") -> str:
    return (f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}">'
            f"{escape(text)}</text>")


def _document(title: str, subtitle: str, body: list, height: float) -> str:
    width = LEFT + WIDTH + RIGHT
    head = (f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height:.0f}" '
            f'viewBox="0 0 {width} {height:.0f}" font-family="sans-serif" fill="#222">')
    background = f'<rect width="{width}" height="{height:.0f}" fill="#fff"/>'
    return "\n".join([head, background, _text(12, 18, title, size=14), _text(12, 33, subtitle),
                      *body, "</svg>\n"])

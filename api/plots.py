"""Bar charts as SVG that is made here: no library, no script, and colours by the style sheet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

WIDTH, HEIGHT = 1200, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 24, 12, 26
_LINES = 4
"""Lines across a chart, about."""
_LEAST = 1.5
"""The height of the lowest part of a bar."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar of several parts, one above the other.

    Attributes:
        parts: a class of the style sheet and a number, from the lowest part up.
        title: what is shown of it on a pointer, and read out.
        label: what stands below it; "" is nothing.
        address: where it leads; "" is nowhere.
    """

    parts: Sequence[tuple[str, int]]
    title: str
    label: str = ""
    address: str = ""

    @property
    def total(self) -> int:
        """The height of the bar, as a number."""
        return sum(number for _, number in self.parts)


def draw_bars(bars: Sequence[Bar], description: str, mark: float | None = None) -> Markup:
    """A chart of bars.

    Args:
        bars: the bars, from the left.
        description: what the chart shows, for who does not see it.
        mark: where a vertical line stands, in bars from the left; None draws none.
    """
    largest = max((bar.total for bar in bars), default=0)
    step = _step(largest)
    top = max(step, math.ceil(largest / step) * step)
    width = (WIDTH - _LEFT - _RIGHT) / max(1, len(bars))
    pieces = [_draw_line(number, top) for number in range(0, top + 1, step)]
    pieces += [_draw_bar(bar, _LEFT + index * width, width, top) for index, bar in enumerate(bars)]
    if mark is not None:
        x = f"{_LEFT + mark * width:.1f}"
        pieces.append(
            Markup('<line class="now" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(
                x, x, _TOP, HEIGHT - _BOTTOM
            )
        )
    # What stands within an image is not there for who hears a page: links would be lost.
    role = "group" if any(bar.address for bar in bars) else "img"
    return Markup(
        '<svg class="plot" viewBox="0 0 {} {}" role="{}" aria-label="{}">{}</svg>'
    ).format(WIDTH, HEIGHT, role, description, Markup("").join(pieces))


def draw_share(share: float, words: str = "") -> Markup:
    """A share as a small bar with its percentage, or with other words. share: from 0 to 1."""
    percent = round(100 * min(1.0, max(0.0, share)))
    return Markup(
        '<span class="share"><svg viewBox="0 0 100 10" preserveAspectRatio="none"'
        ' aria-hidden="true"><rect class="rest" width="100" height="10"/>'
        '<rect class="used" width="{}" height="10"/></svg> {}</span>'
    ).format(percent, words or f"{percent}%")


def _step(largest: int) -> int:
    """The distance of two lines: 1, 2 or 5 times a power of ten."""
    rough = max(1.0, largest / _LINES)
    power = 10 ** math.floor(math.log10(rough))
    return int(next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough))


def _height(number: float, top: int) -> float:
    return number / top * (HEIGHT - _TOP - _BOTTOM)


def _draw_line(number: int, top: int) -> Markup:
    y = HEIGHT - _BOTTOM - _height(number, top)
    return Markup(
        '<line class="grid" x1="{}" x2="{}" y1="{}" y2="{}"/><text x="{}" y="{}">{}</text>'
    ).format(
        _LEFT, WIDTH - _RIGHT, f"{y:.1f}", f"{y:.1f}", _LEFT - 6, f"{y + 4:.1f}", _short(number)
    )


def _draw_bar(bar: Bar, x: float, width: float, top: int) -> Markup:
    gap = min(2.0, width / 5)
    pieces = [Markup("<title>{}</title>").format(bar.title)]
    y = float(HEIGHT - _BOTTOM)
    for name, number in bar.parts:
        if number:
            # One failure among thousands is seen, too.
            height = max(_LEAST, _height(number, top))
            y -= height
            pieces.append(
                Markup('<rect class="{}" x="{}" y="{}" width="{}" height="{}"/>').format(
                    name, f"{x + gap / 2:.1f}", f"{y:.1f}", f"{width - gap:.1f}", f"{height:.1f}"
                )
            )
    # The whole column answers the pointer, however low the bar is.
    pieces.append(
        Markup('<rect class="column" x="{}" y="{}" width="{}" height="{}"/>').format(
            f"{x:.1f}", _TOP, f"{width:.1f}", HEIGHT - _TOP - _BOTTOM
        )
    )
    if bar.label:
        pieces.append(
            Markup('<text class="below" x="{}" y="{}">{}</text>').format(
                f"{x + width / 2:.1f}", HEIGHT - 8, bar.label
            )
        )
    drawn = Markup("<g>{}</g>").format(Markup("").join(pieces))
    return Markup('<a href="{}">{}</a>').format(bar.address, drawn) if bar.address else drawn


def _short(number: int) -> str:
    """A number that fits beside a chart: `1500`, `20k`, `3M`."""
    for factor, unit in ((1_000_000, "M"), (1_000, "k")):
        if number >= 10 * factor or (number >= factor and number % factor == 0):
            return f"{number / factor:g}{unit}"
    return str(number)


def say_pace(per_hour: float) -> str:
    """Studies an hour, in whole ones where they are many."""
    return f"{per_hour:,.0f}" if per_hour >= 10 else f"{per_hour:.2g}"

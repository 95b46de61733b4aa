"""The drift line and small intervals as SVG that is made here; colours by the style sheet."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from markupsafe import Markup

from api.plots import HEIGHT, WIDTH
from records.quality.drift import DayShare, DriftLine
from records.quality.intervals import Estimate

_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 24, 12, 26
_RADIUS = 3.5
_LABELS = 7
"""Days that are written below a line, at most."""


def draw_interval(found: Estimate) -> Markup:
    """A share as a dot on a line from 0 to 100 %, with its interval as a bar."""
    if found.value is None or found.low is None or found.high is None:
        return Markup("")
    low, high, value = (100 * at for at in (found.low, found.high, found.value))
    return Markup(
        '<svg class="interval" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
        '<rect class="rest" y="4.5" width="100" height="1"/>'
        '<rect class="bounds" x="{}" y="2.5" width="{}" height="5"/>'
        '<rect class="at" x="{}" y="0.5" width="1.2" height="9"/></svg>'
    ).format(f"{low:.1f}", f"{max(0.5, high - low):.1f}", f"{max(0.0, value - 0.6):.1f}")


def draw_drift(line: DriftLine, description: str) -> Markup:
    """The daily shares of a line, with the band that its baseline gives each day.

    Args:
        line: with one day at least.
        description: what the chart shows, for who does not see it.
    """
    first, last = line.days[0].day, line.days[-1].day
    span = max(1, (last - first).days)

    def x(day: dt.date) -> float:
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * (day - first).days / span

    pieces = [_draw_grid(percent) for percent in range(0, 101, 25)]
    watched = [day for day in line.days if day.low is not None and day.high is not None]
    if watched:
        band = [(x(day.day), _y(day.high or 0)) for day in watched]
        band += [(x(day.day), _y(day.low or 0)) for day in reversed(watched)]
        pieces.append(Markup('<polygon class="band" points="{}"/>').format(_points(band)))
    if line.baseline is not None:
        y = f"{_y(line.baseline.share):.1f}"
        pieces.append(
            Markup('<line class="now" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(
                _LEFT, WIDTH - _RIGHT, y, y
            )
        )
    shares = [(x(day.day), _y(day.share)) for day in line.days]
    pieces.append(Markup('<polyline class="trace" points="{}"/>').format(_points(shares)))
    pieces += [_draw_day(day, x(day.day)) for day in line.days]
    pieces += [
        Markup('<text class="below" x="{}" y="{}">{}</text>').format(
            f"{x(day):.1f}", HEIGHT - 8, f"{day:%d %b}"
        )
        for day in _labelled(first, span)
    ]
    return Markup(
        '<svg class="plot drift" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>'
    ).format(WIDTH, HEIGHT, description, Markup("").join(pieces))


def _draw_day(day: DayShare, x: float) -> Markup:
    y = _y(day.share)
    title = f"{day.day}: {day.differing} of {day.watched} ({day.share:.0%})"
    if day.low is not None and day.high is not None:
        title += f"; expected {day.low:.0%} to {day.high:.0%}"
    if day.side:
        # Another shape and not only another colour.
        points = _points(
            [(x, y - 6 * day.side), (x - 6, y + 5 * day.side), (x + 6, y + 5 * day.side)]
        )
        mark = Markup('<polygon class="outside" points="{}"/>').format(points)
    else:
        mark = Markup('<circle class="inside" cx="{}" cy="{}" r="{}"/>').format(
            f"{x:.1f}", f"{y:.1f}", _RADIUS
        )
    return Markup("<g><title>{}</title>{}</g>").format(title, mark)


def _draw_grid(percent: int) -> Markup:
    y = _y(percent / 100)
    return Markup(
        '<line class="grid" x1="{}" x2="{}" y1="{}" y2="{}"/><text x="{}" y="{}">{} %</text>'
    ).format(_LEFT, WIDTH - _RIGHT, f"{y:.1f}", f"{y:.1f}", _LEFT - 6, f"{y + 4:.1f}", percent)


def _labelled(first: dt.date, span: int) -> Sequence[dt.date]:
    step = max(1, span // (_LABELS - 1))
    return [first + dt.timedelta(days=number) for number in range(0, span + 1, step)]


def _points(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _y(share: float) -> float:
    return HEIGHT - _BOTTOM - share * (HEIGHT - _TOP - _BOTTOM)

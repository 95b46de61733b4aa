"""The measurements as one picture, drawn with Pillow: what a GPU machine has. Knows no network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

WIDE, EDGE, ROW = 1000, 24, 34
NAMES = 230
INK, PALE, GRID = "#1c2733", "#5b6b7a", "#d9dfe5"
COLOURS = {
    "one at a time": "#9aa7b3",
    "static batch": "#5b8db8",
    "engine": "#1f6f54",
    "engine, int8": "#3c9d7c",
}
BOUND = "#c7502b"


def draw(measured: dict[str, Any], path: Path) -> None:
    """Pace of each way beside the bound, then the seconds of its parts; written as PNG."""
    ways = measured["ways"]
    bound = measured["bounds"]["operations_studies_per_second"]
    high = 2 * EDGE + 110 + ROW * (2 * len(ways) + 1) + 70
    picture = Image.new("RGB", (WIDE, high), "white")
    pen = ImageDraw.Draw(picture)
    pen.text((EDGE, EDGE), _title(measured), INK, _font(20))
    pen.text((EDGE, EDGE + 28), _subtitle(measured), PALE, _font(14))
    top = EDGE + 70
    pen.text((EDGE, top), "studies a second", INK, _font(16))
    top += 28
    most = max([bound, *(way["studies_per_second"] for way in ways)])
    for way in ways:
        length = _length(way["studies_per_second"], most)
        said = f"{way['studies_per_second']:.3g}   busy {way['busy']:.0%}"
        _bar(pen, top, _name(way), [(length, COLOURS[way["way"]])], said)
        top += ROW
    _bar(pen, top, "operations bound", [(_length(bound, most), BOUND)], f"{bound:.3g}")
    top += ROW + 24
    pen.text((EDGE, top), "milliseconds a study: reading (dark), writing (light)", INK, _font(16))
    top += 28
    most = max(1000 * way["seconds"] / way["studies"] for way in ways)
    for way in ways:
        parts = [1000 * way[f"{part}_seconds"] / way["studies"] for part in ("encode", "decode")]
        colour = COLOURS[way["way"]]
        bars = [(_length(parts[0], most), colour), (_length(parts[1], most), _light(colour))]
        _bar(pen, top, _name(way), bars, f"{parts[0]:.0f} + {parts[1]:.0f}")
        top += ROW
    picture.save(path)


def _title(measured: dict[str, Any]) -> str:
    return (
        f"Drafting: {measured['ratio_total']:.2f} x one at a time, "
        f"{measured['ratio_decode']:.2f} x in decoding alone, "
        f"{measured['roofline_share']:.0%} of the operations' bound"
    )


def _subtitle(measured: dict[str, Any]) -> str:
    return (
        f"{measured['parameters'] / 1e6:,.0f} M parameters, {measured['dtype']}, on "
        f"{measured['device']}, {measured['threads']} threads; {measured['studies']} studies of "
        f"{measured['views']} views, {measured['mean_tokens']} tokens each in the mean"
    )


def _name(way: dict[str, Any]) -> str:
    return way["way"] if way["together"] == 1 else f"{way['way']}, {way['together']}"


def _bar(
    pen: ImageDraw.ImageDraw, top: int, name: str, bars: list[tuple[int, str]], said: str
) -> None:
    pen.text((EDGE, top + 5), name, INK, _font(15))
    left = EDGE + NAMES
    for length, colour in bars:
        pen.rectangle((left, top + 3, left + length, top + ROW - 7), fill=colour)
        left += length
    pen.text((left + 8, top + 5), said, PALE, _font(14))


def _length(value: float, most: float) -> int:
    return max(1, round(value / most * (WIDE - NAMES - 2 * EDGE - 150)))


def _light(colour: str) -> str:
    red, green, blue = (int(colour[n : n + 2], 16) for n in (1, 3, 5))
    return "#" + "".join(f"{(c + 2 * 255) // 3:02x}" for c in (red, green, blue))


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)

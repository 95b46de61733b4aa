"""Draws the measurements as one picture, with Pillow, which a bare GPU machine has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

WIDTH, MARGIN, ROW = 1000, 24, 34
LABEL_WIDTH = 230
INK, PALE = "#1c2733", "#5b6b7a"
COLOURS = {
    "one at a time": "#9aa7b3",
    "static batch": "#5b8db8",
    "engine": "#1f6f54",
    "engine, int8": "#3c9d7c",
}
BOUND = "#c7502b"


def draw_measurements(measured: dict[str, Any], path: Path) -> None:
    """Draw the pace of each strategy beside the bound, and the seconds of its parts, as a PNG."""
    strategies = measured["ways"]
    bound = measured["bounds"]["operations_studies_per_second"]
    height = 2 * MARGIN + 110 + ROW * (2 * len(strategies) + 1) + 70
    image = Image.new("RGB", (WIDTH, height), "white")
    canvas = ImageDraw.Draw(image)
    canvas.text((MARGIN, MARGIN), _title(measured), INK, _font(20))
    canvas.text((MARGIN, MARGIN + 28), _subtitle(measured), PALE, _font(14))
    top = MARGIN + 70
    canvas.text((MARGIN, top), "studies a second", INK, _font(16))
    top += 28
    longest = max([bound, *(strategy["studies_per_second"] for strategy in strategies)])
    for strategy in strategies:
        length = _length(strategy["studies_per_second"], longest)
        label = f"{strategy['studies_per_second']:.3g}   busy {strategy['busy']:.0%}"
        _bar(canvas, top, _name(strategy), [(length, COLOURS[strategy["way"]])], label)
        top += ROW
    _bar(canvas, top, "operations bound", [(_length(bound, longest), BOUND)], f"{bound:.3g}")
    top += ROW + 24
    canvas.text(
        (MARGIN, top), "milliseconds a study: reading (dark), writing (light)", INK, _font(16)
    )
    top += 28
    longest = max(1000 * strategy["seconds"] / strategy["studies"] for strategy in strategies)
    for strategy in strategies:
        parts = [
            1000 * strategy[f"{part}_seconds"] / strategy["studies"]
            for part in ("encode", "decode")
        ]
        colour = COLOURS[strategy["way"]]
        bars = [(_length(parts[0], longest), colour), (_length(parts[1], longest), _light(colour))]
        _bar(canvas, top, _name(strategy), bars, f"{parts[0]:.0f} + {parts[1]:.0f}")
        top += ROW
    image.save(path)


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


def _name(strategy: dict[str, Any]) -> str:
    return (
        strategy["way"]
        if strategy["together"] == 1
        else f"{strategy['way']}, {strategy['together']}"
    )


def _bar(
    canvas: ImageDraw.ImageDraw, top: int, name: str, bars: list[tuple[int, str]], label: str
) -> None:
    canvas.text((MARGIN, top + 5), name, INK, _font(15))
    left = MARGIN + LABEL_WIDTH
    for length, colour in bars:
        canvas.rectangle((left, top + 3, left + length, top + ROW - 7), fill=colour)
        left += length
    canvas.text((left + 8, top + 5), label, PALE, _font(14))


def _length(value: float, longest: float) -> int:
    return max(1, round(value / longest * (WIDTH - LABEL_WIDTH - 2 * MARGIN - 150)))


def _light(colour: str) -> str:
    red, green, blue = (int(colour[n : n + 2], 16) for n in (1, 3, 5))
    return "#" + "".join(f"{(c + 2 * 255) // 3:02x}" for c in (red, green, blue))


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)

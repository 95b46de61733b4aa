"""A screencast as an animated GIF: screenshots of a page, each with a caption below it."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from playwright.sync_api import Page

SIZE = (1200, 700)
"""Width and height of the page."""
CAPTION_HEIGHT = 44
MAX_BYTES = 2_000_000
_GREYS = (*range(0, 252, 4), 255)
"""Shades of grey in the palette, for the films. Pillow looks colours up in steps of four, so with
these white stays white."""
_COLOURS = (190, 96, 48)
"""Other colours in it; fewer are taken until the file is small enough."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A picture of the page that is shown for some seconds."""

    picture: Image.Image
    seconds: float


@dataclass(slots=True)
class Screencast:
    """Frames that are recorded from a page."""

    page: Page
    frames: list[Frame] = field(default_factory=list)

    def show(self, caption: str, seconds: float) -> None:
        """Record the page as it is now."""
        self._append(self._take(caption), seconds)

    def watch(
        self, caption: str, refresh: Callable[[], object], is_over: Callable[[], bool], most: float
    ) -> None:
        """Record the page until something is over; a longer time is shown as `most` seconds."""
        first = len(self.frames)
        while not is_over():
            started = time.monotonic()
            refresh()
            picture = self._take(caption)
            self._append(picture, time.monotonic() - started)
        total = sum(frame.seconds for frame in self.frames[first:])
        if total > most:
            self.frames[first:] = [
                replace(frame, seconds=frame.seconds * most / total)
                for frame in self.frames[first:]
            ]

    def write(self, path: Path) -> None:
        """Write the GIF.

        Raises:
            ValueError: It is larger than MAX_BYTES even with the fewest colours.
        """
        for colours in _COLOURS:
            content = _encode(self.frames, colours)
            if len(content) <= MAX_BYTES:
                path.write_bytes(content)
                return
        raise ValueError(f"the screencast is larger than {MAX_BYTES} bytes: record less")

    def _take(self, caption: str) -> Image.Image:
        shot = Image.open(io.BytesIO(self.page.screenshot())).convert("RGB")
        picture = Image.new("RGB", (shot.width, shot.height + CAPTION_HEIGHT), (24, 28, 38))
        picture.paste(shot, (0, 0))
        draw = ImageDraw.Draw(picture)
        middle = (shot.width // 2, shot.height + CAPTION_HEIGHT // 2)
        draw.text(middle, caption, (255, 255, 255), ImageFont.load_default(20), anchor="mm")
        return picture

    def _append(self, picture: Image.Image, seconds: float) -> None:
        if self.frames and self.frames[-1].picture.tobytes() == picture.tobytes():
            last = self.frames.pop()
            seconds += last.seconds
        self.frames.append(Frame(picture, seconds))


def _make_palette(frames: Sequence[Frame], colours: int) -> Image.Image:
    """Return a picture whose palette has greys, and the colours of these frames."""
    numbers = []
    for frame in frames:
        red, green, blue = np.moveaxis(np.asarray(frame.picture).astype(np.uint32), 2, 0)
        numbers.append(np.unique(red << 16 | green << 8 | blue))
    each = np.unique(np.concatenate(numbers))
    found = np.stack([each >> 16, each >> 8 & 255, each & 255], axis=1).astype(np.uint8)
    found = found[np.ptp(found, axis=1) > 6]
    # Each colour counts once, however large its area is: a badge is as red as it was.
    each_once = Image.fromarray(found[np.newaxis]) if len(found) else Image.new("RGB", (1, 1))
    chosen = each_once.quantize(colours, method=Image.Quantize.MEDIANCUT).getpalette() or []
    greys = [value for grey in _GREYS for value in [grey] * 3]
    palette = Image.new("P", (1, 1))
    palette.putpalette(greys + chosen[: 3 * colours])
    return palette


def _encode(frames: Sequence[Frame], colours: int) -> bytes:
    # One palette for all frames, so that only what changes is stored.
    palette = _make_palette(frames, colours)
    pictures = [
        frame.picture.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames
    ]
    stream = io.BytesIO()
    pictures[0].save(
        stream,
        "GIF",
        save_all=True,
        append_images=pictures[1:],
        # A GIF counts hundredths of a second, and browsers slow down what is below two of them.
        duration=[max(20, round(frame.seconds * 100) * 10) for frame in frames],
        loop=0,
        optimize=False,
    )
    return stream.getvalue()

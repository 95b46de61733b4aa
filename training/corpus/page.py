"""Draws a page of examples as a picture: images, priors and target text, side by side.

A person looks at it to see that the right texts stand beside the right images.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from model.errors import PixelError
from model.manifest import Preprocessing
from records.errors import CorpusError
from training.corpus.example import Example

_COLUMNS = 2
_SIDE = 224
_GAP = 12
_TEXT_WIDTH = 560
_LINE_HEIGHT = 17
_HEIGHT = 310
_PAPER, _INK, _FAINT, _RED = "white", "#1a1a1a", "#6b6b6b", "#a02020"
_PREPROCESSING = Preprocessing(_SIDE, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def draw_page(examples: Sequence[Example], title: str, path: Path) -> int:
    """Draw examples into a PNG file and return how many of their images cannot be read.

    Raises:
        CorpusError: the picture cannot be written.
    """
    rows = max(1, -(-len(examples) // _COLUMNS))
    # All texts begin at one column, behind the images of the example that has most.
    images_width = max((len(example.images) for example in examples), default=1) * (_SIDE + _GAP)
    width = images_width + _TEXT_WIDTH + 2 * _GAP
    page = Image.new("RGB", (_COLUMNS * width + _GAP, rows * _HEIGHT + 40), _PAPER)
    pen = ImageDraw.Draw(page)
    pen.text((_GAP, 10), title, fill=_INK, font=_font(18))
    if not examples:
        pen.text((_GAP, 48), "No examples.", fill=_FAINT, font=_font(14))
    unreadable = 0
    for number, example in enumerate(examples):
        left = _GAP + (number % _COLUMNS) * width
        top = 40 + (number // _COLUMNS) * _HEIGHT
        unreadable += _draw_images(page, pen, example, left, top)
        _draw_texts(pen, example, left + images_width, top)
    try:
        page.save(path, "PNG")
    except OSError as error:
        raise CorpusError(f"the page {path} cannot be written ({error}); name another") from error
    return unreadable


def _draw_images(
    page: Image.Image, pen: ImageDraw.ImageDraw, example: Example, left: int, top: int
) -> int:
    unreadable = 0
    for number, image in enumerate(example.images):
        x, y = left + number * (_SIDE + _GAP), top + 4
        try:
            page.paste(Image.fromarray(image.pixels(_PREPROCESSING)), (x, y))
        except PixelError as error:
            unreadable += 1
            pen.rectangle((x, y, x + _SIDE - 1, y + _SIDE - 1), outline=_RED)
            for row, line in enumerate(_wrap(str(error), _font(12), _SIDE - 16)):
                pen.text((x + 8, y + 8 + row * _LINE_HEIGHT), line, fill=_RED, font=_font(12))
        pen.text((x, y + _SIDE + 4), image.position, fill=_INK, font=_font(12))
        for row, line in enumerate(list(_wrap(image.source, _font(10), _SIDE))[:3]):
            pen.text((x, y + _SIDE + 21 + 13 * row), line, fill=_FAINT, font=_font(10))
    return unreadable


def _draw_texts(pen: ImageDraw.ImageDraw, example: Example, left: int, top: int) -> None:
    lines = list(_text_lines(example))
    max_lines = (_HEIGHT - _GAP) // _LINE_HEIGHT
    if len(lines) > max_lines:
        lines = [*lines[: max_lines - 1], ("...", _FAINT)]
    for number, (line, colour) in enumerate(lines):
        pen.text((left, top + number * _LINE_HEIGHT), line, fill=colour, font=_font(13))


def _text_lines(example: Example) -> Iterator[tuple[str, str]]:
    """Yield the lines beside the images with their colours: priors are faint, the target is not."""
    yield f"{example.key}   {example.split}   patient {example.patient}", _INK
    for name in ("indication", "procedure", "prior_report"):
        if prior := getattr(example.priors, name):
            source = example.prior_sources.get(name, "no source named")
            text = f"{name.replace('_', ' ').capitalize()} [{source}]: {prior}"
            yield from ((line, _FAINT) for line in list(_wrap(text, _font(13), _TEXT_WIDTH))[:4])
    if not any((example.priors.indication, example.priors.prior_report)):
        yield "No indication.", _FAINT
    if example.oracle is not None:
        oracle = {
            "problems": ", ".join(example.oracle.problems),
            "image": example.oracle.image,
            "there": ", ".join(example.oracle.symptoms.present),
            "not there": ", ".join(example.oracle.symptoms.absent),
        }
        text = "; ".join(f"{name}: {value}" for name, value in oracle.items() if value)
        text = f"From the report itself, never served: {text or 'nothing'}"
        yield from ((line, _RED) for line in list(_wrap(text, _font(13), _TEXT_WIDTH))[:3])
    yield "", _INK
    yield from ((line, _INK) for line in _wrap(example.target, _font(13), _TEXT_WIDTH))


def _wrap(text: str, font: Font, width: int) -> Iterator[str]:
    """Yield lines at most `width` pixels wide, broken at spaces and within words that are wider."""
    line = ""
    for whole_word in text.split():
        word = whole_word
        longer = f"{line} {word}".lstrip()
        if font.getlength(longer) <= width:
            line = longer
            continue
        if line:
            yield line
        while font.getlength(word) > width:
            cut = next(n for n in range(len(word) - 1, 0, -1) if font.getlength(word[:n]) <= width)
            yield word[:cut]
            word = word[cut:]
        line = word
    if line:
        yield line


_FONTS: dict[int, Font] = {}


def _font(size: int) -> Font:
    if size not in _FONTS:
        _FONTS[size] = ImageFont.load_default(size)
    return _FONTS[size]

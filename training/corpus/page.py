"""A page of examples as a picture: films, priors and text to write, side by side. Knows no corpus.

For a person who wants to see that the right words stand beside the right films.
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
_TEXT = 560
_LINE = 17
_HEIGHT = 310
_PAPER, _INK, _FAINT, _RED = "white", "#1a1a1a", "#6b6b6b", "#a02020"
_PLAIN = Preprocessing(_SIDE, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def draw_page(examples: Sequence[Example], title: str, path: Path) -> int:
    """Draw examples into a PNG; how many of their films cannot be read.

    Raises:
        CorpusError: the picture cannot be written.
    """
    rows = max(1, -(-len(examples) // _COLUMNS))
    # Words begin in one line, behind the films of the example that has most.
    images = max((len(example.images) for example in examples), default=1) * (_SIDE + _GAP)
    width = images + _TEXT + 2 * _GAP
    page = Image.new("RGB", (_COLUMNS * width + _GAP, rows * _HEIGHT + 40), _PAPER)
    pen = ImageDraw.Draw(page)
    pen.text((_GAP, 10), title, fill=_INK, font=_font(18))
    if not examples:
        pen.text((_GAP, 48), "No examples.", fill=_FAINT, font=_font(14))
    unreadable = 0
    for number, example in enumerate(examples):
        left = _GAP + (number % _COLUMNS) * width
        top = 40 + (number // _COLUMNS) * _HEIGHT
        unreadable += _draw_films(page, pen, example, left, top)
        _draw_words(pen, example, left + images, top)
    try:
        page.save(path, "PNG")
    except OSError as error:
        raise CorpusError(f"the page {path} cannot be written ({error}); name another") from error
    return unreadable


def _draw_films(
    page: Image.Image, pen: ImageDraw.ImageDraw, example: Example, left: int, top: int
) -> int:
    unreadable = 0
    for place, image in enumerate(example.images):
        x, y = left + place * (_SIDE + _GAP), top + 4
        try:
            page.paste(Image.fromarray(image.pixels(_PLAIN)), (x, y))
        except PixelError as error:
            unreadable += 1
            pen.rectangle((x, y, x + _SIDE - 1, y + _SIDE - 1), outline=_RED)
            for line, words in enumerate(_wrapped(str(error), _font(12), _SIDE - 16)):
                pen.text((x + 8, y + 8 + line * _LINE), words, fill=_RED, font=_font(12))
        pen.text((x, y + _SIDE + 4), image.position, fill=_INK, font=_font(12))
        for line, words in enumerate(list(_wrapped(image.source, _font(10), _SIDE))[:3]):
            pen.text((x, y + _SIDE + 21 + 13 * line), words, fill=_FAINT, font=_font(10))
    return unreadable


def _draw_words(pen: ImageDraw.ImageDraw, example: Example, left: int, top: int) -> None:
    lines = list(_words(example))
    room = (_HEIGHT - _GAP) // _LINE
    if len(lines) > room:
        lines = [*lines[: room - 1], ("...", _FAINT)]
    for number, (words, ink) in enumerate(lines):
        pen.text((left, top + number * _LINE), words, fill=ink, font=_font(13))


def _words(example: Example) -> Iterator[tuple[str, str]]:
    """The lines beside the films, and the ink of each: what is told is faint, the target is not."""
    yield f"{example.key}   {example.split}   patient {example.patient}", _INK
    for prior in ("indication", "procedure", "prior_report"):
        if said := getattr(example.priors, prior):
            source = example.prior_sources.get(prior, "no source named")
            text = f"{prior.replace('_', ' ').capitalize()} [{source}]: {said}"
            yield from ((line, _FAINT) for line in list(_wrapped(text, _font(13), _TEXT))[:4])
    if not any((example.priors.indication, example.priors.prior_report)):
        yield "No indication.", _FAINT
    if example.oracle is not None:
        told = {
            "problems": ", ".join(example.oracle.problems),
            "image": example.oracle.image,
            "there": ", ".join(example.oracle.symptoms.present),
            "not there": ", ".join(example.oracle.symptoms.absent),
        }
        text = "; ".join(f"{name}: {said}" for name, said in told.items() if said)
        text = f"From the report itself, never served: {text or 'nothing'}"
        yield from ((line, _RED) for line in list(_wrapped(text, _font(13), _TEXT))[:3])
    yield "", _INK
    yield from ((line, _INK) for line in _wrapped(example.target, _font(13), _TEXT))


def _wrapped(text: str, font: Font, width: int) -> Iterator[str]:
    """Lines no wider than so many pixels, broken at spaces, and within a word that is too long."""
    line = ""
    for whole in text.split():
        word = whole
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

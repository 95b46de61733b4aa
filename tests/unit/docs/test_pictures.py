"""The pictures of the pages: each is one that a command makes, so that it can be made again."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from PIL import Image

from tests.support.paths import DOCS, ROOT
from tools.page_pictures import SHOTS, Shot, index_page, shrink
from tools.pictures import FOLDER, PICTURES, SCREENCAST
from tools.screencast import MAX_BYTES

CHARTS = {
    # `nightdraft ablate` and `nightdraft bench model --plot` draw them.
    DOCS / "train/ablations.png",
    DOCS / "develop/drafting.png",
}

PICTURE = re.compile(r'!\[(?P<alt>[^\]]*)\]\((?P<file>[^)#\s]+)\)|(?:src|srcset)="(?P<html>[^"]+)"')


def shown_pictures() -> dict[Path, set[str]]:
    """Each picture that a page shows, with the pages."""
    shown: dict[Path, set[str]] = {}
    for page in [*ROOT.glob("*.md"), *DOCS.rglob("*.md")]:
        for match in PICTURE.finditer(page.read_text()):
            file = match["file"] or match["html"]
            shown.setdefault((page.parent / file).resolve(), set()).add(page.name)
    return shown


def test_every_picture_is_one_that_a_command_makes() -> None:
    shown = shown_pictures()
    made = {DOCS / FOLDER / name for name in PICTURES}
    assert set(shown) == made | CHARTS | {DOCS / SCREENCAST}
    assert "README.md" in shown[DOCS / SCREENCAST]
    assert all(path.is_file() for path in shown)


def test_the_page_of_all_pictures_is_the_one_that_the_command_writes() -> None:
    assert (DOCS / FOLDER / "README.md").read_text() == index_page()


def test_all_pictures_together_are_small() -> None:
    assert sum((DOCS / FOLDER / name).stat().st_size for name in PICTURES) < 17_000_000


def test_every_picture_has_a_text_for_those_who_do_not_see_it() -> None:
    for page in [*ROOT.glob("*.md"), *DOCS.rglob("*.md")]:
        text = page.read_text()
        for match in PICTURE.finditer(text):
            assert match["html"] or len(match["alt"]) > 20, (page, match[0])
        for tag in re.findall(r"<img [^>]*>", text):
            assert re.search(r'alt="[^"]{20,}"', tag), (page, tag)


def test_no_picture_lies_there_unused() -> None:
    there = {path for kind in ("png", "gif", "jpg", "svg") for path in DOCS.rglob(f"*.{kind}")}
    assert there == set(shown_pictures())


def test_the_screencast_moves_and_is_small_and_short() -> None:
    path = DOCS / SCREENCAST
    assert path.stat().st_size < MAX_BYTES == 2_000_000
    with Image.open(path) as screencast:
        assert screencast.n_frames >= 10  # type: ignore[attr-defined]
        seconds, pictures = 0.0, set()
        for number in range(screencast.n_frames):  # type: ignore[attr-defined]
            screencast.seek(number)
            seconds += screencast.info["duration"] / 1000
            pictures.add(screencast.convert("L").resize((64, 40)).tobytes())
        assert screencast.info["loop"] == 0
    assert 15 <= seconds <= 25
    assert len(pictures) >= 10


@pytest.mark.parametrize("shot", SHOTS, ids=lambda shot: shot.name)
def test_a_picture_is_of_a_whole_window_with_something_in_it(shot: Shot) -> None:
    for size, _, name in shot.files():
        with Image.open(DOCS / FOLDER / name) as picture:
            assert picture.size == size, name
            assert len(picture.convert("L").getcolors() or ()) > 12, name


def test_of_a_film_no_grey_is_lost() -> None:
    greys = Image.new("RGB", (256, 8))
    greys.putdata([(grey, grey, grey) for grey in range(256)] * 8)
    stream = io.BytesIO()
    greys.save(stream, "PNG")
    with Image.open(io.BytesIO(shrink(stream.getvalue(), has_film=True))) as kept:
        assert kept.tobytes() == greys.tobytes()
    with Image.open(io.BytesIO(shrink(stream.getvalue(), has_film=False))) as palette:
        assert palette.mode == "P"

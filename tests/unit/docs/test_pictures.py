"""The pictures of the pages: each is one that a command makes, so that it can be made again."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from PIL import Image

from tests.support.paths import DOCS, ROOT
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
    made = {FOLDER / name for name in PICTURES}
    assert set(shown) == made | CHARTS
    assert "README.md" in shown[FOLDER / SCREENCAST]
    assert all(path.is_file() for path in shown)


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
    path = FOLDER / SCREENCAST
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


@pytest.mark.parametrize("name", [name for name in PICTURES if name != SCREENCAST])
def test_a_picture_is_of_a_whole_window(name: str) -> None:
    with Image.open(FOLDER / name) as picture:
        assert picture.size == (1440, 900)
        assert len(picture.convert("L").resize((160, 100)).getcolors() or ()) > 50

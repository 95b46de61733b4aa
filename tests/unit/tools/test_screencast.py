"""The screencast keeps greys and accents, and gets smaller by having fewer colours."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tools import screencast
from tools.screencast import CAPTION_HEIGHT, Screencast


class FakePage:
    """A page whose screenshots are given."""

    def __init__(self, *shots: Image.Image) -> None:
        self.shots = list(shots)

    def screenshot(self) -> bytes:
        stream = io.BytesIO()
        (self.shots.pop(0) if len(self.shots) > 1 else self.shots[0]).save(stream, "PNG")
        return stream.getvalue()


def shot(badge: tuple[int, int, int] = (200, 20, 20)) -> Image.Image:
    """A grey wedge, as a film, with a small coloured badge."""
    picture = np.repeat(np.linspace(0, 255, 200).astype(np.uint8)[None, :, None], 100, 0)
    picture = np.repeat(picture, 3, 2)
    picture[:6, :12] = badge
    return Image.fromarray(picture)


def recorded(*shots: Image.Image) -> Screencast:
    page: Any = FakePage(*shots)
    return Screencast(page)


def test_greys_stay_grey_and_a_small_badge_keeps_its_colour(tmp_path: Path) -> None:
    cast = recorded(shot(), shot((20, 130, 60)))
    cast.show("one", 1.0)
    cast.show("two", 2.0)
    cast.write(tmp_path / "cast.gif")
    with Image.open(tmp_path / "cast.gif") as gif:
        assert gif.n_frames == 2  # type: ignore[attr-defined]
        assert gif.size == (200, 100 + CAPTION_HEIGHT)
        for number, badge in enumerate([(200, 20, 20), (20, 130, 60)]):
            gif.seek(number)
            pixels = np.asarray(gif.convert("RGB")).astype(int)
            film = pixels[10:100]
            assert np.ptp(film, axis=2).max() == 0
            assert abs(film - np.asarray(shot()).astype(int)[10:]).max() <= 4
            assert abs(pixels[2, 2] - badge).max() <= 12


def test_what_does_not_change_is_one_frame_and_a_long_wait_is_shortened() -> None:
    cast = recorded(shot(), shot(), shot((0, 0, 200)))
    cast.show("same", 1.0)
    cast.show("same", 1.5)
    assert [frame.seconds for frame in cast.frames] == [2.5]
    answers = iter([False, True])
    cast.watch("same", lambda: None, lambda: next(answers), 0.0)
    assert len(cast.frames) == 2
    assert cast.frames[1].seconds == 0.0


def test_too_large_a_file_is_refused_and_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[int] = []

    def encode(_: object, colours: int) -> bytes:
        tried.append(colours)
        return bytes(200)

    monkeypatch.setattr(screencast, "_encode", encode)
    monkeypatch.setattr(screencast, "MAX_BYTES", 100)
    with pytest.raises(ValueError, match="larger than 100 bytes"):
        recorded(shot()).write(tmp_path / "cast.gif")
    assert tried == sorted(tried, reverse=True)
    assert len(tried) > 1
    assert not (tmp_path / "cast.gif").exists()

"""The pictures in docs/ can be taken again from rows of a whole night."""

from PIL import Image

from tests.support.screenshots import take
from tests.support.seeded_studies import whole_night


def test_pictures_of_a_night(serve, browser, data_dir, tmp_path):
    whole_night(data_dir, size=512)
    take(browser, serve().url, tmp_path)
    for name in ("worklist.png", "study.png"):
        with Image.open(tmp_path / name) as picture:
            assert picture.width == 1440
            assert len(picture.convert("L").getcolors()) > 50

"""The images are installed from one wheel a package, each the one of constraints.txt."""

from __future__ import annotations

import re
import tomllib

import pytest

from tests.support.paths import ROOT
from tools.lock_hashes import lock

LOCK = (ROOT / "docker/requirements.lock").read_text()

OUTSIDE = {"setuptools"}
"""A package that builds ours; constraints.txt has none of those."""


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(text: str) -> dict[str, str]:
    return {plain(n): v for n, v in re.findall(r"^([\w.-]+)==([^\s;]+)", text, re.MULTILINE)}


def test_the_lock_has_the_versions_of_the_constraints() -> None:
    constraints = pins((ROOT / "constraints.txt").read_text())
    locked = {name: version for name, version in pins(LOCK).items() if name not in OUTSIDE}
    assert locked == {name: constraints[name] for name in locked}


def test_the_lock_has_all_that_we_import() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = {plain(re.split(r"[\[<>=;! ]", line)[0]) for line in project["dependencies"]}
    assert named - {"torch"} <= set(pins(LOCK))


def test_every_line_has_one_hash() -> None:
    for line in LOCK.splitlines():
        assert line.startswith("#") or re.fullmatch(
            r"[\w.-]+==[\w.+!]+ --hash=sha256:[0-9a-f]{64}", line
        )


def test_the_images_take_nothing_else() -> None:
    text = (ROOT / "docker/Dockerfile").read_text()
    assert text.count("pip install --no-deps --require-hashes -r requirements.lock") == 2


def test_a_package_without_a_hash_is_refused() -> None:
    entry = {"metadata": {"name": "A_b", "version": "1"}, "download_info": {"url": "x"}}
    with pytest.raises(ValueError, match="A_b 1 has no hash"):
        lock({"install": [entry]})
    entry["download_info"] = {"archive_info": {"hashes": {"sha256": "0" * 64}}}  # type: ignore[dict-item]
    assert lock({"install": [entry]}).endswith(f"a-b==1 --hash=sha256:{'0' * 64}\n")

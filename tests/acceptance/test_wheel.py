"""A wheel of the project holds all that it needs, and runs where no checkout is."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.paths import ROOT

pytestmark = pytest.mark.slow

PACKAGES = ("records", "intake", "worker", "api", "model", "training", "nightdraft", "migrations")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

FIND_FILES = """
import importlib.metadata, pathlib, sys
import api.rendering, migrations, training.evaluation.report_page
from model.manifest import BUNDLES
for package in sys.argv[1:]:
    print(__import__(package).__file__)
print(BUNDLES)
print(migrations.__file__, migrations.head())
assert "<html" in api.rendering.render(
    "problem.html", title="gone", detail="not here", status=404, request_id="", emergency=""
)
license_files = importlib.metadata.metadata("nightdraft").get_all("License-File")
assert {"LICENSE", "NOTICE"} <= set(license_files), license_files
"""
"""Prints where each package was found; fails where a template or licence is missing."""


def run(
    command: list[str | Path], folder: Path, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder, without any setting or path of the caller."""
    env = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("NIGHTDRAFT_") and name not in ("PYTHONPATH", "VIRTUAL_ENV")
    }
    done = subprocess.run(
        list(map(str, command)),
        cwd=folder,
        env=env | variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def package_files(root: Path) -> set[str]:
    """The files of the packages under a root, as relative paths, without what Python compiles."""
    return {
        path.relative_to(root).as_posix()
        for package in PACKAGES
        for path in (root / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of the checkout: building writes into the source folder."""
    source = tmp_path_factory.mktemp("source")
    for package in PACKAGES:
        shutil.copytree(
            ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, source)
    # What is not meant for users must stay out even where it lies beside the packages.
    (source / "tests").mkdir()
    (source / "tests/__init__.py").touch()
    target = tmp_path_factory.mktemp("wheel")
    build: list[str | Path] = [sys.executable, "-m", "pip", "wheel", ".", "--no-deps"]
    run([*build, "--no-index", "--no-build-isolation", "--quiet", "-w", target], source)
    (built,) = target.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` folder of a fresh environment with the wheel and this environment's libraries."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder)
    python = folder / "bin/python"
    pip: list[str | Path] = [sys.executable, "-m", "pip", "--python", python, "install"]
    run([*pip, "--no-deps", "--no-index", "--quiet", wheel], folder)
    # A path in a .pth file does not read the .pth files there, so the checkout, which is installed
    # by one, stays out.
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    libraries = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (folder / "lib" / version / "site-packages/libraries.pth").write_text(
        "".join(f"{path}\n" for path in sorted(libraries))
    )
    return folder / "bin"


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """An empty folder outside the checkout."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    return folder


def test_the_wheel_holds_every_file_of_the_packages_and_no_other(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
    code = {name for name in names if not name.split("/")[0].endswith(".dist-info")}
    assert code == package_files(ROOT)
    licences = {Path(name).name for name in names - code if "/licenses/" in name}
    assert {"LICENSE", "NOTICE"} <= licences


def test_the_version_is_in_one_place(installed: Path, elsewhere: Path) -> None:
    version = str(PROJECT["version"])
    done = run([installed / "nightdraft", "--version"], elsewhere)
    assert done.stdout == f"nightdraft {version}\n"
    quoted = re.compile(rf"(?<![\d.])v?{re.escape(version)}(?![\d.])")
    repeated = [
        name
        for name in package_files(ROOT)
        if Path(name).suffix in (".py", ".html", ".css", ".js")
        and quoted.search((ROOT / name).read_text())
    ]
    assert repeated == []


def test_all_is_found_in_the_installed_wheel(installed: Path, elsewhere: Path) -> None:
    output = run([installed / "python", "-c", FIND_FILES, *PACKAGES], elsewhere).stdout
    assert len(output.splitlines()) == len(PACKAGES) + 2
    assert all(line.startswith(str(installed.parent)) for line in output.splitlines())
    assert str(ROOT) not in output
    assert list(elsewhere.iterdir()) == []


def test_the_help_lists_the_commands(installed: Path, elsewhere: Path) -> None:
    page = run([installed / "nightdraft", "--help"], elsewhere).stdout
    for command in ("station", "demo", "listen", "work", "serve", "migrate", "train", "bundle"):
        assert re.search(rf"\b{command}\b", page)


def test_the_shipped_bundle_is_whole(installed: Path, elsewhere: Path) -> None:
    done = run([installed / "nightdraft", "bundle", "verify", "demo"], elsewhere)
    assert "files unchanged, every weight in its place, digest" in done.stdout


def test_the_tables_are_made(
    installed: Path, elsewhere: Path, empty_database: str, setting: Callable[..., None]
) -> None:
    variables = {"NIGHTDRAFT_DATABASE_URL": empty_database}
    done = run([installed / "nightdraft", "migrate"], elsewhere, **variables)
    newest = max(path.name for path in (ROOT / "migrations/versions").glob("[0-9]*.py"))
    assert f"tables at revision {newest.partition('_')[0]}" in done.stdout
    status = run([installed / "nightdraft", "status", "--json"], elsewhere, **variables)
    assert '"DRAFTED": 0' in status.stdout

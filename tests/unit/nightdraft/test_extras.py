"""What serves does without the libraries of the training, and says so where they are needed."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib

import pytest

from nightdraft.extras import PARQUET_MODULES, TRAINING_MODULES
from tests.support.paths import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]

OTEL_MODULES = ("opentelemetry.sdk", "opentelemetry.exporter")

HIDDEN = (*TRAINING_MODULES, *PARQUET_MODULES, *OTEL_MODULES)

# As where they are not installed: an import fails, and nothing is found.
WITHOUT_EXTRAS = f"import sys; sys.modules |= dict.fromkeys({HIDDEN!r}); "

SERVE = """
import importlib, pkgutil
import api, intake, migrations, model, nightdraft.station, records, worker
for package in (api, intake, model, nightdraft.station, records, worker):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
from model.case import Case
from model.reporter import load_reporter
from training.corpus.phantoms import phantom
(draft,) = load_reporter("demo", device="cpu").draft([phantom(7).case(112)])
assert draft.findings
"""


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_EXTRAS + code], capture_output=True, text=True, check=False
    )


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return run(
        f"sys.argv = ['nightdraft', *{arguments!r}]; from nightdraft.cli.main import main; main()"
    )


def test_the_extra_is_what_is_asked_for() -> None:
    installed = PROJECT["optional-dependencies"]["train"]
    assert sorted(name.replace("-", "_") for name in installed) == sorted(TRAINING_MODULES)
    of_parquet = PROJECT["optional-dependencies"]["parquet"]
    assert of_parquet == list(PARQUET_MODULES)
    names = {re.split(r"[\[<>=!~ ]", name)[0] for name in PROJECT["dependencies"]}
    assert not names & {*installed, *of_parquet}


def test_what_receives_drafts_and_serves_needs_no_library_of_an_extra() -> None:
    done = run(SERVE)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("evaluate", "demo", "--corpus", "phantoms:ward", "--limit", "2"),
        ("train", "both", "--base", "demo", "--corpus", "phantoms:ward", "--out", "made"),
        ("train", "phantoms", "--out", "made"),
        ("ablate", "--base", "demo", "--corpus", "phantoms:ward", "--out", "made"),
        ("bundle", "make", "m", "--from", "b", "--name", "n", "--version", "1", "--adapter", "a"),
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)  # fmt: skip
def test_a_command_that_trains_names_the_extra(arguments: tuple[str, ...]) -> None:
    done = command(*arguments)
    assert done.returncode == 1
    assert "pip install 'nightdraft[train]'" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_every_page_of_help_is_there_without_the_extra() -> None:
    for arguments in (["--help"], ["train", "both", "--help"], ["evaluate", "--help"]):
        done = command(*arguments)
        assert done.returncode == 0, done.stderr
        assert "Usage" in done.stdout


def test_the_tested_versions_travel_with_the_package() -> None:
    done = command("constraints")
    assert done.stdout == (ROOT / "constraints.txt").read_text("utf-8")
    pinned = {line.split("==")[0].lower() for line in done.stdout.splitlines() if "==" in line}
    extras = (name for names in PROJECT["optional-dependencies"].values() for name in names)
    wanted = {
        re.split(r"[\[<>=!~ ]", name)[0].lower() for name in (*PROJECT["dependencies"], *extras)
    }
    assert {
        name
        for name in wanted
        if name.replace("_", "-") not in {p.replace("_", "-") for p in pinned}
    } == set()

"""Own reports the whole way: the folder is checked, trained on and scored."""

from __future__ import annotations

import csv
import json
import re
import runpy
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from model.bundling.store import check_bundle
from nightdraft.cli.main import app
from records.errors import CorpusError
from tests.support.own_reports import phantom_rows, write_csv
from tests.support.paths import DOCS, ROOT
from training.corpus.example import CorpusOptions, Example
from training.corpus.registry import open_corpus

QUICK = {
    "TRAIN_BOTH_STEPS": "2",
    "TRAIN_BOTH_BATCH": "2",
    "TRAIN_BOTH_ACCUMULATION": "1",
    "TRAIN_BOTH_MOST_TARGET": "40",
    "TRAIN_BOTH_PRECISION": "float32",
    "TRAIN_BOTH_SCORE": "0",
    "TRAIN_BOTH_NO_HEAD": "1",
    "EVALUATE_LIMIT": "3",
    "EVALUATE_MODE": "context",
    "EVALUATE_NORMALISATION": "lower",
    "DEVICE": "cpu",
}
"""Variables of options that make a training take seconds."""


@pytest.fixture(autouse=True)
def _quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("training.metrics.meteor.shutil.which", lambda _: None)
    for name, value in QUICK.items():
        monkeypatch.setenv(f"NIGHTDRAFT_{name}", value)
    # Films are prepared in this process: others would take longer to start than to work.
    monkeypatch.setattr("training.corpus.prepared_dataset.os.sched_getaffinity", lambda _: set())
    torch.set_num_threads(1)


def run(line: str) -> str:
    """Run a line of a shell that begins with `nightdraft` or `python`."""
    command, *arguments = shlex.split(line, comments=True)
    if command == "python":
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", arguments)
            runpy.run_path(str(ROOT / arguments[0]), run_name="__main__")
        return ""
    assert command == "nightdraft", line
    result = CliRunner().invoke(app, arguments)
    if result.exception is not None:
        raise result.exception
    return result.output


def lines_of(heading: str) -> list[str]:
    """Return the commands below a heading of the page."""
    page = (DOCS / "train/own-reports.md").read_text(encoding="utf-8")
    block = re.search(rf"^## {heading}\n.*?^```sh\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert block is not None
    return [line for line in block[1].replace("\\\n", " ").splitlines() if line.strip()]


@pytest.mark.slow
def test_the_ten_lines_of_the_page_do_what_they_say() -> None:
    lines = lines_of("In ten lines")
    assert len(lines) <= 10
    for line in lines:
        run(line)
    assert list(check_bundle(Path("ours")).training["stages"]) == ["stage1", "stage1+stage2"]
    assert Path("report/report.html").is_file()


@pytest.mark.slow
def test_iu_x_ray_rewritten_as_own_reports(samples: Path) -> None:
    """The five sample reports with films: PNG, as 16 bits, one row a film, two splits."""
    folder = Path("own")
    folder.mkdir()
    with (samples / "iu/filtered/indiana_reports.csv").open(encoding="utf-8") as file:
        reports = {row["uid"]: row for row in csv.DictReader(file)}
    rows: list[dict[str, Any]] = []
    for film in sorted((samples / "iu/images").rglob("*.png")):
        match = re.search(r"(?:CXR)?(\d+)_(?:\d+_)?IM", f"{film.parent.name}/{film.name}")
        assert match is not None
        report = reports[match[1]]
        if not report["findings"]:
            continue
        name = f"{len(rows)}.png"
        with Image.open(film) as opened:
            grey = np.asarray(opened.convert("L").resize((256, 256)), np.uint16)
        Image.fromarray(grey * 257).save(folder / name)
        rows.append(
            {
                "Study": match[1],
                "Patient ID": f"IU{match[1]}",
                "Image": name,
                "Report": "INDICATION: {indication}\n\nFINDINGS: {findings}\n\n"
                "IMPRESSION: {impression}".format(**report),
                "Split": "test" if match[1] in ("1000", "54") else "train",
            }
        )
    write_csv(folder, rows, delimiter=";", encoding="utf-8-sig")
    run("nightdraft corpus check folder own --json counts.json --target findings")
    counts = json.loads(Path("counts.json").read_text())
    assert counts["examples"] == {"train": 3, "validate": 0, "test": 2}
    assert counts["images_read"] == len(rows) == 9
    assert (counts["faults"], counts["images_unreadable"]) == ([], [])
    assert (counts["in_two_splits"], counts["without_indication"]) == (0, 0)
    # What the reader of IU X-ray gives of the same reports is the same text.
    originals, own = read_targets(f"iu_xray:{samples / 'iu'}"), read_targets("folder:own")
    assert own == {key.removeprefix("CXR"): target for key, target in originals.items()}
    run("nightdraft train both --base demo --corpus folder:own --target findings --out ours")
    run("nightdraft evaluate ours --corpus folder:own --json figures.json")
    assert json.loads(Path("figures.json").read_text())["studies"] == 2
    manifest = check_bundle(Path("ours"))
    assert manifest.training["corpus"].startswith("folder")
    with pytest.raises(CorpusError, match="give --split and --seed as in its training"):
        run("nightdraft evaluate ours --corpus folder:own --split patients")


def read_targets(spec: str) -> dict[str, str]:
    corpus = open_corpus(spec, CorpusOptions("findings"))
    return {study.key: study.target for study in corpus.read() if isinstance(study, Example)}


@pytest.mark.slow
def test_the_paper_s_commands_on_iu_x_ray(samples: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the page has them, with the demonstration's network and the samples of the collection.

    What takes the whole collections or hours is left out: their other commands have tests of their
    own, and that all options exist is a test of the pages.
    """
    monkeypatch.delenv("NIGHTDRAFT_EVALUATE_MODE")
    outputs = []
    for line in lines_of("The paper again"):
        if "iu_xray" in line and line.split()[1] in ("corpus", "train", "evaluate"):
            with_samples = line.replace("--base base", "--base demo")
            outputs.append(run(with_samples.replace("/data/iu", str(samples / "iu"))))
    assert len(outputs) == 3
    manifest = check_bundle(Path("clinicalblip-iu"))
    assert "oracle_iu" in (manifest.template, *manifest.templates)
    assert Path("report-iu/report.html").is_file()


def test_a_wrong_row_ends_a_training_before_it_begins() -> None:
    folder = Path("own")
    folder.mkdir()
    rows = phantom_rows(folder, range(1, 5))
    rows[2]["date"] = "soon"
    write_csv(folder, rows)
    with pytest.raises(CorpusError, match=r"1 wrong rows \(line \d+: the date 'soon'"):
        run("nightdraft train both --base demo --corpus folder:own --out ours")
    assert not Path("ours").exists()

"""Folders of own reports, as `training.corpus.folder` reads them."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from training.corpus.example import CorpusOptions, Example
from training.corpus.folder import FolderCorpus
from training.corpus.phantoms import phantom
from training.corpus.registry import open_corpus

REPORT = "INDICATION: Cough.\n\nFINDINGS: The lungs are clear.\n\nIMPRESSION: No disease."


def write_csv(
    folder: Path, rows: Sequence[dict[str, Any]], *, delimiter: str = ",", encoding: str = "utf-8"
) -> Path:
    """Write reports.csv with the columns of all rows; "" where a row has none."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    with (folder / "reports.csv").open("w", newline="", encoding=encoding) as file:
        table = csv.DictWriter(file, columns, restval="", delimiter=delimiter)
        table.writeheader()
        table.writerows(rows)
    return folder


def write_json_lines(folder: Path, rows: Iterable[dict[str, Any]]) -> Path:
    """Write reports.jsonl."""
    lines = (json.dumps(row, ensure_ascii=False) for row in rows)
    (folder / "reports.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def draw_film(path: Path, seed: int = 1, position: str = "frontal", side: int = 112) -> str:
    """Write a view of a phantom as PNG or JPEG, and return the file's name."""
    Image.fromarray(phantom(seed).render(position, side)).save(path)
    return path.name


def phantom_rows(folder: Path, seeds: Iterable[int], patients: int = 0) -> list[dict[str, Any]]:
    """Draw the films of phantoms and return their rows, two studies a patient or as asked.

    Args:
        folder: Where the films are written.
        seeds: A study each.
        patients: How many patients have the studies in turn; 0 gives each its own.
    """
    rows = []
    for day, seed in enumerate(seeds):
        drawn = phantom(seed)
        films = [
            draw_film(folder / f"{seed}-{position}.png", seed, position)
            for position in drawn.positions
        ]
        rows.append(
            {
                "study": f"study-{seed}",
                "patient": f"patient-{day % patients if patients else seed}",
                "date": f"2026-01-{1 + day % 28:02d}",
                "images": ";".join(films),
                "views": ";".join(drawn.positions),
                "report": f"FINDINGS: {drawn.findings_text}\nIMPRESSION: {drawn.impression}",
                "indication": drawn.indication,
            }
        )
    return rows


def report_row(folder: Path, number: int = 1, **values: Any) -> dict[str, Any]:
    """Draw a film and return the row of a study; `values` are columns of it."""
    name = draw_film(folder / f"{number}.png", number)
    usual = {"study": f"s{number}", "patient": f"p{number}", "images": name, "report": REPORT}
    return usual | values


def read_examples(folder: Path, **options: Any) -> list[Example]:
    """Return the studies of a folder, all of which must be examples."""
    studies = list(open_corpus(f"folder:{folder}", CorpusOptions(**options)).read())
    examples = [study for study in studies if isinstance(study, Example)]
    assert len(examples) == len(studies), studies
    return examples


def list_faults(folder: Path, *, needs_images: bool = True) -> list[tuple[int, str]]:
    """Return the line and the reason of each wrong row."""
    corpus = FolderCorpus(folder, needs_images=needs_images)
    return [(fault.line, fault.reason) for fault in corpus.faults()]

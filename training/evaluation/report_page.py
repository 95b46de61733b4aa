"""Writes the report of an evaluation: one HTML file that holds all of it, and Markdown with PNGs.

    OUT/report.html     everything, films too: one file that can be passed on
    OUT/report.md       the same for a repository
    OUT/pictures/*.png  what the Markdown shows

What corpora and models write is untrusted text: it is escaped in both. Knows no scoring.
"""

from __future__ import annotations

import base64
import os
import re
from datetime import UTC, datetime
from html import escape
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from records.errors import NotAllowed
from training.evaluation.evaluate import Comparison, Evaluation
from training.evaluation.pages.cases import extreme_cases
from training.evaluation.pages.chart import draw
from training.evaluation.pages.paper import paper
from training.evaluation.pages.sections import failures, names, sections
from training.evaluation.pages.versus import versus

WARNING = (
    "Research figures, not for clinical use. The texts and films below may be of patients: keep "
    "this file where the corpus itself may be kept."
)
PICTURES = "pictures"
CHART = "scores.png"
HTML, MARKDOWN = "report.html", "report.md"
_OURS = re.compile(r"scores\.png|(?:worst|best)-\d+-\d+\.png")
"""The pictures of a report, by name: the chart, and `pages.cases`'s films."""


def check_folder(folder: Path) -> None:
    """Refuse a folder that no report can be written to, before hours of drafting.

    Raises:
        NotAllowed: it is a file, it cannot be made or written to, or something that is not a
            report's stands where the report would.
    """
    pictures = folder / PICTURES
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for place in (folder, *([pictures] if pictures.is_dir() else [])):
            probe = place / f".{HTML}.new"
            probe.touch()
            probe.unlink()
    except OSError as error:
        raise NotAllowed(
            f"no report can be written to {folder} ({error.strerror}); name another folder"
        ) from error
    if os.path.lexists(pictures) and not pictures.is_dir():
        raise NotAllowed(
            f"{pictures} is no folder, and the report's pictures would go there; name another "
            "folder, or move it away"
        )
    for path in (folder / HTML, folder / MARKDOWN):
        if path.is_dir():
            raise NotAllowed(
                f"{path} is a folder, and the report would go there; name another folder, or move "
                "it away"
            )


def write_report(
    folder: Path, evaluation: Evaluation, comparison: Comparison | None = None
) -> tuple[Path, Path]:
    """Write the report, over an earlier one; the paths of the HTML and of the Markdown.

    Of what else is in the folder, and among its pictures, nothing is touched.

    Raises:
        NotAllowed: the folder cannot be written to.
    """
    check_folder(folder)
    worst, best = extreme_cases(evaluation)
    chart = draw(evaluation)
    said = {
        "warning": WARNING,
        "evaluation": evaluation,
        "facts": _facts(evaluation),
        "chart": chart,
        "sections": [
            *sections(evaluation),
            *([] if comparison is None else [versus(comparison)]),
            paper(evaluation),
        ],
        "cases": {"Worst": worst, "Best": best},
        "last": [failures(evaluation), names(evaluation)],
        "pictures": PICTURES,
    }
    pictures = folder / PICTURES
    pictures.mkdir(exist_ok=True)
    for old in pictures.iterdir():
        if _OURS.fullmatch(old.name):
            old.unlink()
    (pictures / CHART).write_bytes(chart)
    for case in (*worst, *best):
        for picture in case.pictures:
            if picture.png:
                (pictures / picture.name).write_bytes(picture.png)
    environment = _environment()
    for name in (HTML, MARKDOWN):
        text = environment.get_template(name).render(said)
        (folder / name).write_text(text, encoding="utf-8")
    return folder / HTML, folder / MARKDOWN


_ACTIVE = re.compile(r"([\\`*_{}\[\]#|~!@]|:(?=//)|(?<=www)\.)", re.IGNORECASE)
"""What Markdown reads as markup inside a line, or makes a link of."""


def as_markdown(text: object) -> str:
    """Untrusted text as one line of Markdown that shows what it says and does nothing."""
    return _ACTIVE.sub(r"\\\1", escape(" ".join(str(text).split()), quote=False))


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("training.evaluation", "pages"),
        autoescape=select_autoescape(("html",), default=False),  # Markdown goes through `md`
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["md"] = as_markdown
    environment.filters["png"] = _as_uri
    return environment


def _as_uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()


def _facts(evaluation: Evaluation) -> dict[str, str]:
    """What was scored, and how."""
    held, manifest = evaluation.held, evaluation.manifest
    drafted = len(held.examples) * len(evaluation.modes)
    seconds = sum(came.drafts.seconds for came in evaluation.modes.values())
    limit = "" if held.limit is None else f" (the first {held.limit} of the test split)"
    return {
        "bundle": f"{evaluation.name}, digest {manifest.digest}",
        "corpus": f"{held.corpus}, seed {held.seed}",
        "studies": f"{len(held.examples)}{limit}",
        "prior modes": ", ".join(evaluation.modes),
        "failed": f"{len(evaluation.failures())} drafts, scored as empty",
        "drafted on": f"{evaluation.device}, {evaluation.dtype}, "
        f"{1000 * seconds / drafted:.0f} ms a study",
        "labeller": evaluation.how.labeller.name,
        "written": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
    }

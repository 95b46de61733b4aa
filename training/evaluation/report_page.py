"""Writes the report of an evaluation: one HTML file that holds everything, and Markdown with PNGs.

    OUT/report.html     everything with its images: one file that can be passed on
    OUT/report.md       the same for a repository
    OUT/pictures/*.png  what the Markdown shows

Texts of corpora and models are untrusted: they are escaped in both.
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
from training.evaluation.pages.chart import draw_chart
from training.evaluation.pages.paper import paper_section
from training.evaluation.pages.sections import failures_section, names_section, score_sections
from training.evaluation.pages.versus import comparison_section

WARNING = (
    "Research figures, not for clinical use. The texts and films below may be of patients: keep "
    "this file where the corpus itself may be kept."
)
PICTURES = "pictures"
CHART = "scores.png"
HTML, MARKDOWN = "report.html", "report.md"
_OWN_PICTURES = re.compile(r"scores\.png|(?:worst|best)-\d+-\d+\.png")
"""The names of a report's pictures: the chart, and the images of `pages.cases`."""


def check_folder(folder: Path) -> None:
    """Refuse a folder that no report can be written to, before hours of drafting.

    Raises:
        NotAllowed: it is a file, it cannot be made or written to, or something else stands where
            the report would be written.
    """
    pictures = folder / PICTURES
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for writable in (folder, *([pictures] if pictures.is_dir() else [])):
            probe = writable / f".{HTML}.new"
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
    """Write the report over an earlier one; return the paths of the HTML and of the Markdown.

    Other files in the folder and among its pictures are not touched.

    Raises:
        NotAllowed: the folder cannot be written to.
    """
    check_folder(folder)
    worst, best = extreme_cases(evaluation)
    chart = draw_chart(evaluation)
    context = {
        "warning": WARNING,
        "evaluation": evaluation,
        "facts": _facts(evaluation),
        "chart": chart,
        "sections": [
            *score_sections(evaluation),
            *([] if comparison is None else [comparison_section(comparison)]),
            paper_section(evaluation),
        ],
        "cases": {"Worst": worst, "Best": best},
        "last": [failures_section(evaluation), names_section(evaluation)],
        "pictures": PICTURES,
    }
    pictures = folder / PICTURES
    pictures.mkdir(exist_ok=True)
    for old in pictures.iterdir():
        if _OWN_PICTURES.fullmatch(old.name):
            old.unlink()
    (pictures / CHART).write_bytes(chart)
    for case in (*worst, *best):
        for picture in case.pictures:
            if picture.png:
                (pictures / picture.name).write_bytes(picture.png)
    environment = _environment()
    for name in (HTML, MARKDOWN):
        text = environment.get_template(name).render(context)
        (folder / name).write_text(text, encoding="utf-8")
    return folder / HTML, folder / MARKDOWN


_MARKUP = re.compile(r"([\\`*_{}\[\]#|~!@]|:(?=//)|(?<=www)\.)", re.IGNORECASE)
"""What Markdown takes for markup or a link within a line."""


def as_markdown(text: object) -> str:
    """Return untrusted text as one line of Markdown that shows it and has no effect."""
    return _MARKUP.sub(r"\\\1", escape(" ".join(str(text).split()), quote=False))


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
    """Return what was scored, and how."""
    held_out, manifest = evaluation.held_out, evaluation.manifest
    drafted = len(held_out.examples) * len(evaluation.modes)
    seconds = sum(result.drafts.seconds for result in evaluation.modes.values())
    limit = "" if held_out.limit is None else f" (the first {held_out.limit} of the test split)"
    return {
        "bundle": f"{evaluation.name}, digest {manifest.digest}",
        "corpus": f"{held_out.corpus}, seed {held_out.seed}",
        "studies": f"{len(held_out.examples)}{limit}",
        "prior modes": ", ".join(evaluation.modes),
        "failed": f"{len(evaluation.failures())} drafts, scored as empty",
        "drafted on": f"{evaluation.device}, {evaluation.dtype}, "
        f"{1000 * seconds / drafted:.0f} ms a study",
        "labeller": evaluation.scoring.labeller.name,
        "written": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
    }

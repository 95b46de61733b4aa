"""What became of the demonstration's studies: each compared with what it must end in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.box import ROUNDED
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text
from sqlalchemy.orm import Session

from model.manifest import Manifest
from model.prompting.prompt import takes_prior
from nightdraft.cli.status import STATE_COLOURS
from nightdraft.demo_studies import WrittenStudy
from records.workflow import drafts, worklist_rows
from records.workflow.worklist_rows import WorklistRow


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one study. differences: what is not as it must be, each in a few words."""

    written: WrittenStudy
    row: WorklistRow | None
    differences: tuple[str, ...]


def read_outcomes(
    session: Session, written: Sequence[WrittenStudy], manifest: Manifest
) -> list[Outcome]:
    """Read what became of the studies, in their order.

    Args:
        session: The caller's transaction.
        written: The studies that were sent.
        manifest: That of the bundle. Not every template takes a prior report.
    """
    takes_prior_reports = takes_prior(manifest.template, "prior_report")
    rows = {
        row.study_instance_uid: row
        for row in worklist_rows.list_by_uids(session, [study.uid for study in written])
    }
    outcomes = []
    for study in written:
        row = rows.get(study.uid)
        made = drafts.list_by_study(session, row.id) if row else []
        current = next((draft for draft in made if draft.superseded_at is None), None)
        indication = current.indication if current is not None else ""
        if takes_prior_reports:
            prior = current.prior_report["text"] if current and current.prior_report else ""
        else:
            prior = study.study.prior
        differences = study.study.differences(row, len(made), indication, prior)
        outcomes.append(Outcome(study, row, tuple(differences)))
    return outcomes


def render_outcomes(outcomes: Sequence[Outcome], *, plain: bool = False) -> RenderableType:
    """Render what was sent, which state it met and why; studies of one kind are one line.

    Args:
        outcomes: What became of the studies.
        plain: Without a frame and only as wide as the text, for a file.
    """
    table = Table(header_style="bold", expand=not plain, box=None if plain else ROUNDED)
    for column in ("study", "state"):
        table.add_column(column, no_wrap=True)
    # One column for both: a terminal of 80 characters has no room for two.
    table.add_column("what was sent, and why it ended so", overflow="fold", ratio=1)
    kinds: dict[tuple[object, ...], list[Outcome]] = {}
    for outcome in outcomes:
        # A study that is not as it must be has a line of its own.
        own = outcome.written.accession if outcome.differences else ""
        kinds.setdefault((outcome.written.study, own), []).append(outcome)
    for same in kinds.values():
        first, study = same[0], same[0].written.study
        state = first.row.state if first.row else None
        sent = f"{len(same)} times {study.sent}" if same[1:] else study.sent
        text = Text(f"{sent}: {study.why}")
        if first.differences:
            text = Text(f"{sent}: NOT AS IT MUST BE: {'; '.join(first.differences)}", "bold red")
        table.add_row(
            first.written.accession,
            Text(state.value, STATE_COLOURS.get(state, "")) if state else "-",
            text,
        )
    return table

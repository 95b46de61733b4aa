"""`nightdraft discrepancies ...`: where draft and final report differ, and the second look."""

from __future__ import annotations

import datetime as dt
import shlex
import uuid
from typing import TYPE_CHECKING, Annotated

import typer

from model.labels.base import OBSERVATIONS
from nightdraft.cli.json_output import AsJson, print_json
from nightdraft.cli.options import complete, console
from records.errors import NotAllowed
from records.states import VERDICTS, DiscrepancySide, DiscrepancyState

if TYPE_CHECKING:
    from rich.console import RenderableType
    from sqlalchemy.orm import Session

    from records.reports.second_looks import DiscrepancyPage

discrepancies = typer.Typer(
    help="List findings that draft and final report do not share, and answer second looks.",
    no_args_is_help=True,
)

SIDES = {"report": DiscrepancySide.MISS_OF_REPORT, "model": DiscrepancySide.MISS_OF_MODEL}
"""Who is silent, as people type it."""

DiscrepancyId = Annotated[uuid.UUID, typer.Argument(help="Id, as `list` or `ask` writes it.")]


CampaignName = Annotated[
    str,
    typer.Option("--campaign", help="Only drafts that this campaign asked for: its name or id."),
]


@discrepancies.callback()
def about() -> None:
    """List findings that draft and final report do not share, and answer second looks."""


@discrepancies.command("list")
def list_discrepancies(
    side: Annotated[
        str,
        typer.Option(
            help="Who is silent: report, or model for the list of its errors.",
            autocompletion=complete(SIDES),
        ),
    ] = "report",
    state: Annotated[
        str,
        typer.Option(
            help="Only those in this state, as CONFIRMED.",
            autocompletion=complete(DiscrepancyState),
        ),
    ] = "OPEN",
    campaign: CampaignName = "",
    observation: Annotated[
        str,
        typer.Option(
            help="Only those of one of the 14 observations, as Edema.",
            autocompletion=complete(OBSERVATIONS),
        ),
    ] = "",
    after: Annotated[
        str,
        typer.Option(help="Mark at which the page begins; the last line of a page has the next."),
    ] = "",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Entries at most.")] = 50,
    json: AsJson = False,
) -> None:
    """List findings that only the draft, or only the report, says; the most certain first."""
    from records.database.session import snapshot
    from records.reports import second_looks

    if side.lower() not in SIDES:
        raise NotAllowed(f"{side!r} is no side: say one of {', '.join(SIDES)}")
    if state.upper() not in DiscrepancyState.__members__:
        raise NotAllowed(f"{state!r} is no state: say one of {', '.join(DiscrepancyState)}")
    known = {name.lower(): name for name in OBSERVATIONS}
    if observation and observation.lower() not in known:
        raise NotAllowed(f"{observation!r} is none of the 14: say one of {', '.join(OBSERVATIONS)}")
    with snapshot() as session:
        page = second_looks.read_page(
            session,
            SIDES[side.lower()],
            DiscrepancyState(state.upper()),
            campaign_id=_find_campaign(session, campaign),
            observation=known.get(observation.lower(), ""),
            after=after or None,
            limit=limit,
        )
    if json:
        from api.discrepancy_schemas import DiscrepancyEntries

        print_json(DiscrepancyEntries.from_page(page))
        return
    console().print(_render_entries(page))
    if page.next:
        given = f"--side {side.lower()} --state {state.upper()} --after {page.next}"
        if campaign:
            given += f" --campaign {shlex.quote(campaign)}"
        if observation:
            given += f" --observation {shlex.quote(observation)}"
        print(f"more: nightdraft discrepancies list {given} --limit {limit}")


@discrepancies.command("show")
def show_discrepancy(discrepancy: DiscrepancyId, json: AsJson = False) -> None:
    """Show one with both texts. It is not for who is to look at the films blindly."""
    from api.discrepancy_schemas import DiscrepancyDetail
    from model.dicom.characters import remove_controls
    from records.database.session import snapshot
    from records.reports import second_looks

    with snapshot() as session:
        detail = DiscrepancyDetail.from_record(second_looks.read_record(session, discrepancy))
    if json:
        print_json(detail)
        return
    facts = {
        "finding": detail.observation,
        "silent": "the report" if detail.side is DiscrepancySide.MISS_OF_REPORT else "the draft",
        "state": detail.state,
        "certainty": f"{detail.certainty:.2f}",
        "patient": detail.patient_id,
        "accession": detail.accession_number,
        "study": detail.study_instance_uid,
        "report": str(detail.report),
    }
    for name, value in facts.items():
        print(f"{name:10} {remove_controls(value)}")
    for title, text in (("Draft", detail.draft_text), ("Final report", detail.report_text)):
        print(f"\n{title}")
        print("\n".join(remove_controls(line) for line in text.splitlines()))


@discrepancies.command("counts")
def show_counts(json: AsJson = False) -> None:
    """Show how many there are, the reads for each confirmed finding, and the week's budget."""
    from rich.table import Table

    from api.discrepancy_schemas import SecondLookSummary
    from records.database.session import snapshot
    from records.reports import second_looks

    with snapshot() as session:
        summary = SecondLookSummary.make(
            second_looks.read_counts(session), second_looks.read_budget(session)
        )
    if json:
        print_json(summary)
        return
    table = Table("state", "only the draft says it", "only the report says it", box=None)
    for state in DiscrepancyState:
        table.add_row(
            state.lower(), *(f"{summary.counts[side][state]:,}" for side in SIDES.values())
        )
    console().print(table)
    per = summary.reads_per_confirmed
    print(
        f"reads for each confirmed finding: {per:.1f}"
        if per is not None
        else "no finding is confirmed yet"
    )
    budget = summary.budget
    print(f"this week: {budget.used} of {budget.reads} reads")
    print(summary.note)


@discrepancies.command("errors")
def show_errors(campaign: CampaignName = "", json: AsJson = False) -> None:
    """Show the model's errors by observation: what reports say, and drafts do not name."""
    from rich.table import Table

    from api.discrepancy_schemas import ModelErrorTable
    from records.database.session import snapshot
    from records.reports import model_errors

    with snapshot() as session:
        campaign_id = _find_campaign(session, campaign)
        errors = ModelErrorTable.from_errors(model_errors.read_table(session, campaign_id))
    if json:
        print_json(errors)
        return
    table = Table("observation", "missed", "a report says it", "of these", "of all", box=None)
    for row in errors.observations:
        shares = ["" if one is None else f"{one:.1%}" for one in (row.of_said, row.of_compared)]
        table.add_row(row.observation, f"{row.missed:,}", f"{row.said:,}", *shares)
    console().print(table)
    print(f"drafts that were compared with a final report: {errors.compared:,}")
    print(errors.note)


@discrepancies.command("ask")
def ask_next(json: AsJson = False) -> None:
    """Ask the next question of a second look, without saying who says the finding."""
    from api.discrepancy_schemas import NextQuestion, SecondLookQuestion
    from model.dicom.characters import remove_controls
    from records.database.session import unit_of_work
    from records.reports import second_looks

    with unit_of_work() as session:
        question = second_looks.ask_next(session)
        asked = SecondLookQuestion.from_question(question) if question else None
    if json:
        print_json(NextQuestion(question=asked))
    elif asked is None:
        print("no question is open")
    else:
        print(asked.question)
        for name, value in (
            ("patient", asked.patient_id),
            ("accession", asked.accession_number),
            ("study date", asked.study_date),
            ("study", asked.study_instance_uid),
        ):
            print(f"{name:10} {remove_controls(value)}")
        print(f"answer: nightdraft discrepancies answer {asked.id} confirmed|denied|unclear")


@discrepancies.command("answer")
def answer_question(
    discrepancy: DiscrepancyId,
    verdict: Annotated[
        str,
        typer.Argument(
            help="What the films show: confirmed (it is there), denied, or unclear.",
            autocompletion=complete([each.lower() for each in VERDICTS]),
        ),
    ],
    json: AsJson = False,
) -> None:
    """Answer a question of a second look; it counts as one read, once, and no name is kept."""
    from api.discrepancy_schemas import WeeklyBudget
    from records.database.session import unit_of_work
    from records.reports import second_looks

    if verdict.upper() not in VERDICTS:
        raise NotAllowed(
            f"{verdict!r} is no answer: say one of {', '.join(v.lower() for v in VERDICTS)}"
        )
    with unit_of_work() as session:
        budget = second_looks.answer(session, discrepancy, DiscrepancyState(verdict.upper()))
    if json:
        print_json(WeeklyBudget.from_budget(budget))
        return
    print(f"{discrepancy}: {verdict.lower()}; {budget.used} of {budget.reads} reads this week")


def _find_campaign(session: Session, name: str) -> uuid.UUID | None:
    from records.campaigns import campaigns

    return campaigns.find(session, name).id if name else None


def _render_entries(page: DiscrepancyPage) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    from model.dicom.characters import remove_controls

    if not page.entries:
        return Text("no entries")
    table = Table(
        "finding", "certainty", "other text", "patient", "accession", "found", "id",
        box=None, pad_edge=False,
    )  # fmt: skip
    for entry in page.entries:
        row, study = entry.discrepancy, entry.study
        table.add_row(
            row.observation,
            f"{row.certainty:.2f}",
            "denies it" if row.said == "absent" else "silent",
            Text(remove_controls(study.patient_id)),
            Text(remove_controls(study.accession_number)),
            _local(row.found_at),
            Text(str(row.id), no_wrap=True),
        )
    return table


def _local(at: dt.datetime) -> str:
    return at.astimezone().strftime("%Y-%m-%d %H:%M:%S")

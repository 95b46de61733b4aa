"""The commands that ask and decide about studies, alarms and the system's health.

Each command imports what it needs only when it is called, so that `nightdraft status` answers at
once.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Annotated

import typer

from nightdraft.cli.json_output import AsJson, print_json
from nightdraft.cli.options import app, complete, console, read_time
from records.errors import NotAllowed, NotFound
from records.settings import settings
from records.states import Decision, HoldReason

if TYPE_CHECKING:
    from api.study_schemas import StudySummary

_RETRY_AT_ONCE = 500
"""Studies that `retry` takes up in one transaction."""


@app.command()
def status(json: AsJson = False) -> None:
    """Show how many studies are in each state, the pace, the time left, parts and alarms."""
    from nightdraft.cli.status import overview_json, render_overview
    from records.database.session import snapshot
    from records.operations.overview import read_overview
    from records.operations.tonight import read_tonight

    with snapshot() as session:
        overview = read_overview(session)
        tonight = read_tonight(session, settings(), overview.workload, overview.parts)
    if json:
        print_json(overview_json(overview, tonight))
    else:
        console().print(render_overview(overview, tonight))


@app.command()
def study(
    number: Annotated[
        str,
        typer.Argument(help="Study Instance UID, our own id, accession number or patient id."),
    ],
    json: AsJson = False,
) -> None:
    """Show one study: patient, state, timeline, and its draft under the warning."""
    from nightdraft.cli.study import find_one, render_study
    from nightdraft.cli.worklist import print_rows
    from records.database.session import snapshot
    from records.database.tables import Study

    with snapshot() as session:
        answer = find_one(session, number.strip())
        if isinstance(answer, Study):
            if json:
                from api.studies import read_study

                print_json(read_study(str(answer.id)))
            else:
                console().print(render_study(session, str(answer.id)))
            return
    if json:
        from api.study_schemas import StudyPage

        print_json(StudyPage.from_page(answer))
    else:
        print_rows(answer.rows, whole=True)
    count = f"more than {len(answer.rows)}" if answer.next else len(answer.rows)
    raise NotAllowed(
        f"{count} studies have that number: choose one by its UID, as in "
        f"`nightdraft study {answer.rows[0].study_instance_uid}`"
    )


@app.command()
def release(
    uid: Annotated[str, typer.Argument(help="Study Instance UID.")], json: AsJson = False
) -> None:
    """End a study's quiet period now, so that it goes on to be drafted."""
    from records.database.session import unit_of_work
    from records.workflow import studies

    with unit_of_work() as session:
        studies.release(session, uid)
    if json:
        print_json(_summary(uid))
    else:
        print("released: the next sweep completes it")


@app.command()
def holds(
    reason: Annotated[
        str,
        typer.Option(help="Only holds for this reason.", autocompletion=complete(HoldReason)),
    ] = "",
    limit: Annotated[int, typer.Option(help="How many at most.", min=1, max=1000)] = 100,
    json: AsJson = False,
) -> None:
    """List the open holds of all studies with both sides, oldest first."""
    from nightdraft.cli.study import render_holds
    from records.database.session import snapshot
    from records.workflow import holds

    with snapshot() as session:
        rows = holds.list_open(session, _hold_reason(reason), limit)
        if json:
            from api.holds import describe

            print_json(describe(session, rows))
        else:
            console().print(render_holds(session, rows))


@app.command()
def refusals(
    limit: Annotated[int, typer.Option(help="How many at most.", min=1, max=1000)] = 100,
    json: AsJson = False,
) -> None:
    """List the objects and associations that the listener refused, newest first, and why."""
    from nightdraft.cli.study import render_refusals
    from records.database.session import snapshot
    from records.operations import refusals

    with snapshot() as session:
        rows = refusals.list_refusals(session, limit)
        if json:
            from api.operation_schemas import Refusal

            print_json([Refusal.model_validate(row) for row in rows])
        else:
            console().print(render_refusals(rows))


@app.command()
def decide(
    uid: Annotated[str, typer.Argument(help="Study Instance UID; or `all`, with --reason.")],
    decision: Annotated[
        str,
        typer.Argument(
            help="proceed, cancel, take-new, keep-both or split.",
            autocompletion=complete([name.lower().replace("_", "-") for name in Decision]),
        ),
    ],
    by: Annotated[str, typer.Option(help="Who decides.")] = "",
    note: Annotated[str, typer.Option(help="Why.")] = "",
    reason: Annotated[
        str,
        typer.Option(
            help="With `all`: the open holds for this reason, 200 at most.",
            autocompletion=complete(HoldReason),
        ),
    ] = "",
    json: AsJson = False,
) -> None:
    """Answer the open holds of a study, or of all studies for one reason."""
    from records import hold_decisions
    from records.database.session import unit_of_work
    from records.workflow import holds, studies

    name = decision.upper().replace("-", "_")
    if name not in Decision.__members__:
        raise NotAllowed(
            f"{decision!r} is no decision: say proceed or cancel, or for films and orders "
            "take-new, keep-both or split"
        )
    if not by.strip():
        raise NotAllowed("a decision needs a name: --by NAME")
    if (uid == "all") != bool(reason):
        raise NotAllowed("to decide many holds at once, say `all` and --reason REASON")
    refused: list[tuple[uuid.UUID, str]] = []
    with unit_of_work() as session:
        if uid == "all":
            seen = [hold.id for hold in holds.list_open(session, _hold_reason(reason))]
            count, refused = hold_decisions.decide_many(
                session, seen, Decision[name], by.strip(), note
            )
        else:
            row = studies.get_by_uid(session, uid)
            count = hold_decisions.decide(session, row.id, Decision[name], by.strip(), note)
    if json:
        why_held = [{"study": study_id, "why": why} for study_id, why in refused]
        print_json({"decision": Decision[name], "closed": count, "stay_held": why_held})
        return
    print(f"{decision.lower()}: {count} hold{'s' if count != 1 else ''} closed")
    for study_id, why in refused:
        print(f"study {study_id} stays held: {why}")


def _summary(uid: str) -> StudySummary:
    """The study as REST answers after a decision."""
    from api.study_schemas import StudySummary
    from records.database.session import snapshot
    from records.workflow import studies, worklist_rows

    with snapshot() as session:
        row = worklist_rows.read_row(session, studies.get_by_uid(session, uid).id)
        return StudySummary.from_row(row)


def _hold_reason(name: str) -> HoldReason | None:
    if not name:
        return None
    try:
        return HoldReason(name.upper())
    except ValueError:
        raise NotAllowed(
            f"{name!r} is no reason of a hold: say one of {', '.join(HoldReason)}"
        ) from None


@app.command()
def withdraw(
    uid: Annotated[str, typer.Argument(help="Study Instance UID.")],
    reason: Annotated[str, typer.Option(help="Why; the timeline keeps it.")] = "",
    by: Annotated[str, typer.Option(help="Who withdraws it.")] = "",
    json: AsJson = False,
) -> None:
    """Withdraw a study's draft; it stays on record, and `retry` brings a draft back."""
    from records.database.session import unit_of_work
    from records.workflow import studies, withdrawals

    if not by.strip() or not reason.strip():
        raise NotAllowed("a withdrawal needs a name and a reason: --by NAME --reason WHY")
    with unit_of_work() as session:
        withdrawals.withdraw(session, studies.get_by_uid(session, uid).id, by, reason)
    if json:
        print_json(_summary(uid))
    else:
        print("withdrawn: the study has no draft any more")


@app.command()
def reinstate(
    uid: Annotated[str, typer.Argument(help="Study Instance UID.")],
    by: Annotated[str, typer.Option(help="Who takes the films back.")] = "",
    note: Annotated[str, typer.Option(help="Why.")] = "",
    json: AsJson = False,
) -> None:
    """Let films count again that a rejection note rejected."""
    from records.database.session import unit_of_work
    from records.workflow import rejections, studies

    if not by.strip():
        raise NotAllowed("taking films back needs a name: --by NAME")
    with unit_of_work() as session:
        study_id = studies.get_by_uid(session, uid).id
        count = rejections.reinstate(session, study_id, by, note)
    if json:
        print_json(_summary(uid))
    else:
        print(f"{count} film{'s' if count != 1 else ''} taken back; a new draft will be made")


@app.command()
def retry(
    uid: Annotated[
        str | None,
        typer.Argument(help="One study, SKIPPED and CANCELLED too; else all that FAILED."),
    ] = None,
    reason: Annotated[
        str | None, typer.Option(help="Those that ended for this reason, SKIPPED too.")
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="Those that ended since then, as 2026-11-24 or with T18:00.")
    ] = None,
    json: AsJson = False,
) -> None:
    """Draft again the studies that FAILED, or one study that ended without a draft."""
    from records.database.session import unit_of_work
    from records.workflow import requests, studies

    at = None if since is None else read_time(since)
    with unit_of_work() as session:
        study_id = studies.get_by_uid(session, uid).id if uid else None
        batch = count = requests.retry(
            session, reason=reason, since=at, study_id=study_id, limit=_RETRY_AT_ONCE
        )
    while batch == _RETRY_AT_ONCE:
        with unit_of_work() as session:
            batch = requests.retry(session, reason=reason, since=at, limit=_RETRY_AT_ONCE)
        count += batch
    if json:
        print_json({"studies": count})
    else:
        print(f"{count} stud{'ies' if count != 1 else 'y'} will be tried again")


@app.command()
def resume(
    part: Annotated[
        str | None,
        typer.Argument(help="The part of the alarm, as `draft` or `draft@HOST`; else all alarms."),
    ] = None,
    json: AsJson = False,
) -> None:
    """Close alarms once their cause is removed; a worker that stopped itself goes on."""
    from records.database.session import unit_of_work
    from records.operations import alarms

    with unit_of_work() as session:
        count = alarms.close_alarms(session, part)
        if part is not None and not count:
            listed = ", ".join(f"`{alarm.part}`" for alarm in alarms.open_alarms(session))
            raise NotFound(
                f"no alarm of {part!r} is open; open are those of {listed}"
                if listed
                else f"no alarm of {part!r} is open, nor any other"
            )
    if json:
        print_json({"closed": count})
    else:
        print(f"{count} alarm{'s' if count != 1 else ''} closed")


@app.command()
def doctor(
    part: Annotated[
        str | None, typer.Option(help="Only this part, on this host: for health checks.")
    ] = None,
    json: AsJson = False,
) -> None:
    """Check each part, and say what to fix."""
    from nightdraft.doctor import readiness, render_results, run_checks

    results = run_checks(settings(), part)
    if json:
        print_json(readiness(results))
    else:
        console().print(render_results(results))
    if any(result.failed for result in results):
        raise typer.Exit(1)

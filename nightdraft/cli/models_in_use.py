"""`nightdraft model ...`: which models draft here, their stop and their recall."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nightdraft.cli.json_output import AsJson, print_json
from nightdraft.cli.looks import user_of_system
from nightdraft.cli.options import console

model = typer.Typer(
    no_args_is_help=True, help="Stop a model, recall its drafts, and show modes of sites."
)

Digest = Annotated[
    str, typer.Argument(help="The model's digest, or six characters or more of its beginning.")
]
Because = Annotated[str, typer.Option(help="Why, in words that the trail keeps; name no patient.")]


@model.callback()
def about() -> None:
    """Stop a model, recall its drafts, and show modes of sites."""


@model.command("list")
def list_models(json: AsJson = False) -> None:
    """List the models that drafted here, the modes of sites, and proposals."""
    from rich.table import Table

    from api.models import list_models as read

    found = read()
    if json:
        print_json(found)
        return
    table = Table("digest", "model", "drafting", "", box=None, pad_edge=False)
    for each in found.models:
        table.add_row(
            each.digest[:12],
            f"{each.name} {each.version}",
            " ".join(each.drafting) or "no machine",
            f"stopped by {each.stop.stopped_by}: {each.stop.reason}" if each.stop else "",
        )
    console().print(table)
    for site in found.sites:
        print(f"site {site.site}: mode {site.mode.lower()}")
    for proposal in found.proposals:
        if proposal.state == "OPEN":
            print(
                f"proposed for site {proposal.site} by {proposal.proposed_by}: "
                f"mode {proposal.mode.lower()} with {proposal.model[:12]}"
            )


@model.command("stop")
def stop(digest: Digest, because: Because, json: AsJson = False) -> None:
    """Stop a model: from now on none of its drafts is shown, at no site."""
    from api.model_schemas import Stop
    from records.bundles import stops
    from records.database.session import unit_of_work

    with unit_of_work() as session:
        made = Stop.model_validate(stops.stop(session, digest, user_of_system().name, because))
    if json:
        print_json(made)
    else:
        print(f"{digest}: stopped; `nightdraft model lift {digest}` lifts it")


@model.command("lift")
def lift(digest: Digest, because: Because, json: AsJson = False) -> None:
    """Lift the stop of a model: its drafts are shown again, and what waits is drafted."""
    from api.model_schemas import Stop
    from records.bundles import stops
    from records.database.session import unit_of_work

    with unit_of_work() as session:
        made = Stop.model_validate(stops.lift(session, digest, user_of_system().name, because))
    if json:
        print_json(made)
    else:
        print(f"{digest}: the stop is lifted")


@model.command("recall")
def recall(
    digest: Digest,
    after: Annotated[
        str,
        typer.Option(help="Mark at which the page begins; the last line of a page has the next."),
    ] = "",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Drafts at most.")] = 50,
    csv: Annotated[Path | None, typer.Option(help="File to which all are written as CSV.")] = None,
    json: AsJson = False,
) -> None:
    """List every draft of a model: study, when, whether and by whom it was signed."""
    from rich.table import Table
    from rich.text import Text

    from api.model_schemas import RecalledDrafts
    from api.models import stream_csv
    from model.dicom.characters import remove_controls
    from records.audit.looks import write_looks
    from records.bundles import known
    from records.bundles import recall as rows
    from records.database.session import snapshot
    from records.states import AuditAction

    with snapshot() as session:
        bundle = known.get(session, digest)
        page = RecalledDrafts.from_page(
            bundle.digest,
            rows.read_page(session, bundle.digest, after=after or None, limit=limit),
        )
    if csv is not None:
        with csv.open("w", encoding="utf-8", newline="") as file:
            for part in stream_csv(page.model):
                write_looks("model recall", AuditAction.EXPORT)
                file.write(part)
        if json:
            print_json({"model": page.model, "csv": str(csv)})
        else:
            print(f"{csv}: written")
        return
    if json:
        print_json(page)
        return
    table = Table("drafted", "patient", "accession", "site", "signed by", box=None, pad_edge=False)
    for draft in page.drafts:
        table.add_row(
            f"{draft.drafted_at.astimezone():%Y-%m-%d %H:%M}",
            Text(remove_controls(draft.patient_id)),
            Text(remove_controls(draft.accession_number)),
            draft.site,
            Text(remove_controls(draft.signed_by) or "nobody"),
        )
    console().print(table)
    if page.next:
        print(f"more: nightdraft model recall {digest} --after {page.next} --limit {limit}")

"""`nightdraft patients ...`: what a person decides about patients that were merged."""

from __future__ import annotations

from typing import Annotated

import typer

from nightdraft.cli.json_output import AsJson, print_json

patients = typer.Typer(help="Take a merge of two patients back.", no_args_is_help=True)


@patients.callback()
def about() -> None:
    """Take a merge of two patients back."""


@patients.command("undo-merge")
def undo(
    retired_id: Annotated[str, typer.Argument(help="The patient id that the merge gave up.")],
    by: Annotated[str, typer.Option(help="Who decides.")],
    issuer: Annotated[str, typer.Option(help="Who issued that id, if its merge named one.")] = "",
    json: AsJson = False,
) -> None:
    """Take a merge back: what it moved is the retired patient's again."""
    from records.database.session import unit_of_work
    from records.patient_changes import undo_merge
    from records.workflow.identifiers import PatientId

    with unit_of_work() as session:
        change = undo_merge(session, PatientId(retired_id, issuer), by)
    if json:
        print_json(change)
    else:
        print(
            f"{change.orders} orders, {change.reports} reports and {change.studies} studies have "
            "their older patient again"
        )

"""`nightdraft patients ...`: takes a merge of two patients back, and erases a patient."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nightdraft.cli.json_output import AsJson, print_json
from records.errors import NotAllowed
from records.settings import settings

if TYPE_CHECKING:
    from nightdraft.patient_files import StrayFiles
    from records.retention.erasure_scope import PatientRows

patients = typer.Typer(
    help="Take a merge of two patients back, or erase a patient.", no_args_is_help=True
)

SENT_OUT = (
    "Nothing of a patient was sent out by this system: mails and webhooks of alarms name none. "
    "What people exported, and backups that were made before, still hold the patient."
)
"""What an erasure cannot reach."""


@patients.callback()
def about() -> None:
    """Take a merge of two patients back, or erase a patient."""


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


@patients.command()
def erase(
    patient_id: Annotated[str, typer.Option(help="The patient's id, (0010,0020).")],
    reason: Annotated[
        str, typer.Option(help="Why, without a name: it stays, as does who erased.")
    ] = "",
    issuer: Annotated[str, typer.Option(help="Who issued the id, (0010,0021).")] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what there is, and change nothing.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before.")] = False,
    json: AsJson = False,
) -> None:
    """Erase everything of a patient from the records and the data folder, for good."""
    from nightdraft.patient_files import find_stray, remove_stray
    from records.audit.looks import PatientNumber, forget_looks, note_look
    from records.blobs import Blobs
    from records.database.session import unit_of_work
    from records.retention import erasure, erasure_scope, removal
    from records.workflow.identifiers import PatientId

    given = PatientId(patient_id, issuer)
    blobs = Blobs(settings().data_dir)
    with unit_of_work() as session:
        rows = erasure_scope.find_patient(session, given)
    stray = find_stray(blobs, rows.ids)
    note_look(patients=[PatientNumber(patient_id, issuer)])
    if dry_run:
        _tell(rows, stray, None, json)
        return
    if not yes:
        if json:
            raise NotAllowed("with --json nobody is asked: give --yes, or --dry-run")
        _tell(rows, stray, None, json)  # which is a look, and is recorded
        typer.confirm("Erase all of it, for good?", abort=True)
    with unit_of_work() as session:
        rows, deleted = erasure.erase_patient(session, given, reason)
    forget_looks()  # an entry about them would say again whom the pseudonym stands for
    removal.remove_files(blobs)
    remove_stray(stray)
    with unit_of_work() as session:
        erasure.forget_statistics(session)
    _tell(rows, stray, deleted, json)


def _tell(rows: PatientRows, stray: StrayFiles, deleted: dict[str, int] | None, json: bool) -> None:
    found: dict[str, Any] = rows.count() | {"files without a row": len(stray.of_patient)}
    bundles = _trained_bundles() if rows.trained else []
    if json:
        print_json(
            {
                "erased": deleted is not None,
                "found": found,
                "deleted_rows": deleted,
                "unreadable_files": stray.unreadable,
                "reports_for_training": rows.trained,
                "trained_bundles": bundles,
                "sent_out": SENT_OUT,
            }
        )
        return
    print("Of this patient there was:" if deleted is not None else "Of this patient there is:")
    for what, number in found.items():
        print(f"  {number:6} {what}")
    for path in stray.unreadable:
        print(f"This file cannot be read, so a person must look whose it is: {path}")
    if rows.trained:
        named = f"; these bundles were trained on signed reports: {', '.join(bundles)}" * bool(
            bundles
        )
        print(f"{rows.trained} of the reports may have been trained on{named}.")
    if deleted is not None:
        print(f"{sum(deleted.values())} rows were deleted, and their files. {SENT_OUT}")


def _trained_bundles() -> list[str]:
    """The bundles beside the one in use that were trained on reports that were signed here."""
    from model.errors import BundleError
    from model.manifest import read_manifest

    config = settings()
    named = Path(config.bundle).expanduser() if config.bundle else None
    if named is None or not named.is_dir():
        return []
    found = []
    for folder in sorted(path for path in named.resolve().parent.iterdir() if path.is_dir()):
        try:
            manifest = read_manifest(str(folder))
        except BundleError:
            continue
        if str(manifest.training.get("corpus", "")).partition(":")[0] == "signed":
            found.append(f"{manifest.name} {manifest.version}")
    return found

"""`nightdraft blobs ...`: looks at the stored files, and acts on those that are damaged or lost."""

from __future__ import annotations

from typing import Annotated

import typer

from nightdraft.cli.json_output import AsJson, print_json
from nightdraft.cli.options import console
from records.settings import settings

blobs = typer.Typer(
    no_args_is_help=True, help="List stored files that are damaged, and those that no row knows."
)


@blobs.command()
def damaged(json: AsJson = False) -> None:
    """List the stored files that are gone or changed; exit status 1 where there are any."""
    _show_damaged(json, {})


def _show_damaged(json: bool, also: dict[str, int]) -> None:
    """Show the damaged files, in JSON beside other numbers.

    Raises:
        Exit: Some are damaged.
    """
    from rich.table import Table

    from records.database.session import snapshot
    from records.workflow import damage

    with snapshot() as session:
        rows = damage.list_damaged(session)
        total = damage.count_damaged(session)
        files = [
            {
                "instance": row.id,
                "study": row.study_id,
                "sop_instance_uid": row.sop_instance_uid,
                "calling_ae": row.calling_ae,
                "damage": row.damage,
                "file": row.blob,
            }
            for row in rows
        ]
    if json:
        print_json({**also, "damaged": total, "files": files})
        if total:
            raise typer.Exit(1)
        return
    if not rows:
        print("no stored file is known to be damaged")
        return
    table = Table("what", "study", "SOP instance UID", "sent by", "file", box=None, pad_edge=False)
    for row in rows:
        table.add_row(
            str(row.damage), str(row.study_id), row.sop_instance_uid, row.calling_ae, row.blob
        )
    console().print(table)
    print(f"{total} damaged: let their senders send them again, or restore the files from a backup")
    raise typer.Exit(1)


@blobs.command()
def check(json: AsJson = False) -> None:
    """Read every stored file now and compare it with what was received."""
    from records.blobs import Blobs
    from records.operations import scrub

    config = settings()
    count = scrub.scrub_all(Blobs(config.data_dir))
    if not json:
        print(f"{count} stored file{'s' if count != 1 else ''} read")
    _show_damaged(json, {"read": count})


@blobs.command()
def orphans(
    register: Annotated[
        bool, typer.Option("--register", help="Give them their rows back, from their headers.")
    ] = False,
    hours: Annotated[float, typer.Option(min=0.25, help="Only files that are older.")] = 1.0,
    json: AsJson = False,
) -> None:
    """List the image files that no row knows, and those in lost+found.

    After the database was restored from an older backup, these are the films that came since.
    """
    from intake.dicom import orphans as files
    from records.blobs import Blobs

    config = settings()
    store = Blobs(config.data_dir)
    if register:
        registered, failed = files.register_all(store, config, hours)
        if json:
            print_json(
                {
                    "registered": registered,
                    "failed": failed,
                    "lost_and_found": store.lost_and_found,
                }
            )
        else:
            print(f"{registered} registered, {failed} in {store.lost_and_found}")
        if failed:
            raise typer.Exit(1)
        return
    paths = (store.path(key) for key in files.find_orphans(store, hours))
    aside = store.list_set_aside()
    if json:
        print_json({"orphans": list(paths), "lost_and_found": aside})
        return
    count = 0
    for path in paths:
        print(path)
        count += 1
    for path in aside:
        print(path)
    hint = ": --register gives them their rows" if count or aside else ""
    print(f"{count} without a row, {len(aside)} in lost+found{hint}")

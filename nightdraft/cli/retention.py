"""`nightdraft retention ...`: how long things are kept, and what is removed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from nightdraft.cli.json_output import AsJson, print_json
from nightdraft.cli.options import console
from records.settings import settings

if TYPE_CHECKING:
    from records.retention.removal import Outlook

retention = typer.Typer(
    no_args_is_help=True, help="Show how long things are kept, and remove what is due."
)


@retention.callback()
def about() -> None:
    """Show how long things are kept, and remove what is due."""


@retention.command()
def show(json: AsJson = False) -> None:
    """Show every rule with its days, what it has removed so far, and how long the disk lasts."""
    from rich.table import Table

    from nightdraft.disk_outlook import read_disk
    from records.database.session import unit_of_work
    from records.retention.rules import list_periods
    from records.retention.walks import list_walks

    with unit_of_work() as session:
        walks = list_walks(session)
        disk = read_disk(session, settings())
    periods = list_periods()
    if json:
        print_json(
            {
                "rules": [
                    {
                        "kept": period.rule.kept,
                        "place": period.rule.place,
                        "days": period.days,
                        "counted_from": period.rule.counted_from,
                        "setting": period.rule.setting or None,
                        "ends": period.rule.ends,
                    }
                    for period in periods
                ],
                "walks": [
                    {
                        "rule": walk.rule,
                        "began_at": walk.began_at,
                        "ended_at": walk.ended_at,
                        "removed": walk.removed,
                        "removed_bytes": walk.removed_bytes,
                    }
                    for walk in walks
                ],
                "disk": disk.as_json(),
            }
        )
        return
    table = Table("what", "where", "kept for", "how it ends", box=None, pad_edge=False)
    for period in periods:
        table.add_row(
            period.rule.kept.lower().replace("_", " "),
            period.rule.place,
            _describe_days(period.days, period.rule.counted_from),
            period.rule.ends,
        )
    console().print(table)
    for walk in walks:
        print(
            f"removed so far, {walk.rule.lower().replace('_', ' ')}: "
            f"{_count(walk.removed, 'file')}, {_megabytes(walk.removed_bytes)}"
        )
    print(f"The disk: {disk.sentence}")


def _describe_days(days: float | None, counted_from: str | None) -> str:
    if days is None:
        return ""
    after = (
        f" after the {counted_from.lower()}" if counted_from != "WRITTEN" and counted_from else ""
    )
    return f"{days:g} day{'' if days == 1 else 's'}{after}"


@retention.command()
def run(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be removed, and change nothing.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Remove all that is due now; the sweep does the same by itself, a little at a time."""
    from records.blobs import Blobs
    from records.retention import prepared, removal
    from worker.retention import remove_all

    blobs = Blobs(settings().data_dir)
    outlook = removal.foresee()
    inputs = prepared.foresee(blobs)
    if not dry_run:
        remove_all()
    if json:
        print_json(
            {
                "dry_run": dry_run,
                "studies": outlook.studies,
                "files": outlook.files,
                "bytes": outlook.size,
                "kept": outlook.kept,
                "prepared": {"files": inputs.files, "bytes": inputs.size},
            }
        )
        return
    verb = "would be removed" if dry_run else "were removed"
    print(
        f"{_count(outlook.files, 'film file')} of {_count(sum(outlook.studies.values()), 'study')} "
        f"{verb}, {_megabytes(outlook.size)}"
    )
    for rule, number in outlook.studies.items():
        print(f"  {_count(number, 'study')}: {_rule_words(rule)}")
    print(f"{_count(inputs.files, 'prepared input')} {verb}, {_megabytes(inputs.size)}")
    _print_kept(outlook)


def _print_kept(outlook: Outlook) -> None:
    from records.retention.removal import KEPT_SENTENCES

    for why, number in sorted(outlook.kept.items()):
        print(f"{_count(number, 'study')} keep their files: {KEPT_SENTENCES[why]}")


def _rule_words(rule: Any) -> str:
    from records.retention.rules import instance_days

    return f"{instance_days(rule):g} days after the {rule.lower()}"


def _count(number: int, noun: str) -> str:
    plural = noun.removesuffix("y") + "ies" if noun.endswith("y") else f"{noun}s"
    return f"{number} {noun if number == 1 else plural}"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"

"""`nightdraft retention ...`: how long things are kept, and what is removed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from nightdraft.cli.json_output import AsJson, print_json
from nightdraft.cli.options import console
from records.errors import NotAllowed
from records.settings import settings
from records.states import SiteRule

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
    from records.database.session import snapshot
    from records.retention.rules import list_periods
    from records.retention.walks import list_walks

    with snapshot() as session:
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


SiteCode = Annotated[str, typer.Option("--site", help="The code of a site, such as `north`.")]


@retention.command("rules")
def list_rules(site: SiteCode = "", json: AsJson = False) -> None:
    """List the rules that a site may have otherwise than the settings, at every site or at one."""
    from rich.table import Table

    from records.database.session import snapshot
    from records.retention.rules import RULES_OF_SITES
    from records.retention.site_days import describe_days, list_site_periods

    with snapshot() as session:
        periods = list_site_periods(session, site)
    if json:
        print_json(
            [
                {
                    "site": period.site,
                    "rule": period.rule,
                    "days": period.days,
                    "own": period.is_own,
                    "setting": RULES_OF_SITES[period.rule].setting,
                }
                for period in periods
            ]
        )
        return
    table = Table("site", "rule", "kept for", "said by", box=None, pad_edge=False)
    for period in periods:
        setting = f"NIGHTDRAFT_{RULES_OF_SITES[period.rule].setting.upper()}"
        said_by = "the site" if period.is_own else setting
        table.add_row(period.site, period.rule.lower(), describe_days(period.days), said_by)
    console().print(table)


@retention.command("set")
def set_rule(
    site: SiteCode,
    rule: Annotated[
        SiteRule,
        typer.Option(help="Which rule: how long what is kept.", case_sensitive=False),
    ],
    days: Annotated[float | None, typer.Option(help="Days at this site; 0 is for ever.")] = None,
    by_setting: Annotated[
        bool, typer.Option("--by-setting", help="Let the setting say the days again.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Set how long a site keeps something, or let the setting say it again; the trail names you."""
    from records.database.session import unit_of_work
    from records.retention.site_days import describe_days, list_site_periods, set_site_days

    if (days is None) is not by_setting:
        raise NotAllowed("name the days by --days, or --by-setting, and not both")
    with unit_of_work() as session:
        set_site_days(session, site, rule, days)
        (period,) = [one for one in list_site_periods(session, site) if one.rule is rule]
    if json:
        print_json({"site": site, "rule": rule, "days": period.days, "own": period.is_own})
        return
    by = "" if period.is_own else ", as the setting says"
    print(f"{site}, {rule.lower()}: {describe_days(period.days)}{by}")


@retention.command()
def run(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be removed, and change nothing.")
    ] = False,
    site: Annotated[
        str, typer.Option("--site", help="With --dry-run: say it of the studies of this site.")
    ] = "",
    json: AsJson = False,
) -> None:
    """Remove all that is due now; the sweep does the same by itself, a little at a time."""
    from records.blobs import Blobs
    from records.database.session import unit_of_work
    from records.retention import prepared, removal
    from records.workflow import sites
    from worker.retention import remove_all

    if site and not dry_run:
        raise NotAllowed("--site needs --dry-run: what is due is removed at every site")
    site_id = None
    if site:
        with unit_of_work() as session:
            site_id = sites.get(session, site).id
    blobs = Blobs(settings().data_dir)
    outlook = removal.foresee(site_id)
    inputs = prepared.foresee(blobs, site_id)
    if not dry_run:
        remove_all()
    if json:
        print_json(
            {
                "dry_run": dry_run,
                "site": site or None,
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
        f"{_count(outlook.files, 'film file')} of {_count(sum(outlook.due.values()), 'study')} "
        f"{verb}, {_megabytes(outlook.size)}"
    )
    for due, number in outlook.due.items():
        words = f"{due.days:g} days after the {due.counted_from.lower()}"
        print(f"  {_count(number, 'study')}: {words}")
    print(f"{_count(inputs.files, 'prepared input')} {verb}, {_megabytes(inputs.size)}")
    _print_kept(outlook)


def _print_kept(outlook: Outlook) -> None:
    from records.retention.film_verdicts import KEPT_SENTENCES

    for why, number in sorted(outlook.kept.items()):
        print(f"{_count(number, 'study')} keep their files: {KEPT_SENTENCES[why]}")


def _count(number: int, noun: str) -> str:
    plural = noun.removesuffix("y") + "ies" if noun.endswith("y") else f"{noun}s"
    return f"{number} {noun if number == 1 else plural}"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"

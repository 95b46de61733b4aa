"""`nightdraft token ...`: what programs show with their calls, or the keys by which they sign."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nightdraft.cli.json_output import AsJson, print_json
from nightdraft.cli.looks import user_of_system
from nightdraft.cli.options import console
from records.errors import NotAllowed
from records.states import Permission

if TYPE_CHECKING:
    from records.accounts.programs import ProgramKeys

tokens = typer.Typer(
    no_args_is_help=True, help="Let programs call: tokens and keys, and what each may do."
)

Name = Annotated[str, typer.Argument(help="The name of the program.")]
Jwks = Annotated[
    Path | None,
    typer.Option(
        help="File with the program's public keys (JWKS). It gets no token then, and logs in with "
        "signed assertions (SMART Backend Services)."
    ),
]
JwksUrl = Annotated[
    str, typer.Option(help="Address where the program publishes its public keys, instead.")
]


@tokens.callback()
def about() -> None:
    """Let programs call: tokens and keys, and what each may do."""


@tokens.command("create")
def create(
    name: Name,
    permission: Annotated[
        list[Permission],
        typer.Option(help="What the program may do; several.", case_sensitive=False),
    ],
    site: Annotated[
        str, typer.Option(help="Code of the site whose studies it may see; else of all sites.")
    ] = "",
    days: Annotated[
        float | None, typer.Option(min=0.001, max=36_500, help="For how many days; else for ever.")
    ] = None,
    jwks: Jwks = None,
    jwks_url: JwksUrl = "",
    json: AsJson = False,
) -> None:
    """Make a token and print it, once: only a digest of it is kept. Or register public keys."""
    from records.accounts import programs
    from records.accounts.program_logins import token_address
    from records.database.session import database_time, unit_of_work

    keys = _read_keys(jwks, jwks_url)
    with unit_of_work() as session:
        ends_at = database_time(session) + dt.timedelta(days=days) if days else None
        token = programs.create(
            session,
            name,
            permission,
            user_of_system().name,
            site_code=site,
            ends_at=ends_at,
            keys=keys,
        )
    if keys is not None:
        if json:
            print_json({"client_id": name, "token_address": token_address(), "ends_at": ends_at})
        else:
            print(f"{name} logs in with assertions that its keys sign (RS384 or ES384):")
            print(f"client id: {name}")
            print(f"token address, which is also the audience: {token_address()}")
    elif json:
        print_json({"name": name, "token": token, "ends_at": ends_at})
    else:
        print(f"{name} shows this with each call, as `Authorization: Bearer TOKEN`:")
        print(token)


@tokens.command("keys")
def replace_keys(
    name: Name, jwks: Jwks = None, jwks_url: JwksUrl = "", json: AsJson = False
) -> None:
    """Set other public keys for a program; tokens that it was given for the older ones end."""
    from records.accounts import programs
    from records.database.session import unit_of_work

    keys = _read_keys(jwks, jwks_url)
    if keys is None:
        raise NotAllowed("name the new keys: --jwks FILE or --jwks-url ADDRESS")
    with unit_of_work() as session:
        programs.replace_keys(session, name, keys)
    if json:
        print_json({"name": name, "keys": _describe(keys.key_set, keys.url)})
    else:
        print(f"{name}: {_describe(keys.key_set, keys.url)}")


@tokens.command("list")
def list_tokens(json: AsJson = False) -> None:
    """List the tokens, with what each may do, its end, and when it was last used."""
    from rich.table import Table

    from records.accounts import programs
    from records.database.session import snapshot
    from records.workflow import sites

    with snapshot() as session:
        rows = programs.list_all(session)
        codes = {site.id: site.code for site in sites.list_all(session)}
    lines = [
        {
            "name": row.name,
            "proves": "token" if row.token_hash else _describe(row.key_set, row.key_set_url or ""),
            "permissions": row.permissions,
            "site": codes.get(row.site_id, "") if row.site_id else "",
            "created_at": row.created_at,
            "created_by": row.created_by,
            "ends_at": row.ends_at,
            "used_at": row.used_at,
            "revoked_at": row.revoked_at,
        }
        for row in rows
    ]
    if json:
        print_json(lines)
        return
    if not lines:
        print("there is no token")
        return
    table = Table("name", "proves itself by", "may", "site", "last used", "ends", box=None)
    for row, line in zip(rows, lines, strict=True):
        ends = f"revoked {_local(row.revoked_at)}" if row.revoked_at else _local(row.ends_at)
        table.add_row(
            row.name,
            str(line["proves"]),
            " ".join(row.permissions),
            str(line["site"] or "all"),
            _local(row.used_at) or "never",
            ends or "never",
        )
    console().print(table)


@tokens.command("revoke")
def revoke(name: Name, json: AsJson = False) -> None:
    """End a token at once."""
    from records.accounts import programs
    from records.database.session import unit_of_work

    with unit_of_work() as session:
        programs.revoke(session, name)
    if json:
        print_json({"name": name, "revoked": True})
    else:
        print(f"{name}: revoked")


def _read_keys(file: Path | None, url: str) -> ProgramKeys | None:
    """The keys that the options name; None where they name none."""
    from records.accounts import key_sets
    from records.accounts.programs import ProgramKeys

    if file is not None and url:
        raise NotAllowed("a program's keys are in a file or at an address: give one of the two")
    if url:
        return ProgramKeys(url=key_sets.check_url(url))
    if file is None:
        return None
    try:
        with file.open("rb") as opened:
            content = opened.read(key_sets.MAX_BYTES + 1)
    except OSError as error:
        raise NotAllowed(f"{file} cannot be read ({error.strerror})") from None
    return ProgramKeys(key_set=key_sets.parse(content))


def _describe(key_set: dict[str, Any] | None, url: str) -> str:
    if key_set is None:
        return f"keys at {url}"
    return f"keys {', '.join(key['kid'] for key in key_set['keys'])}"


def _local(at: dt.datetime | None) -> str:
    return at.astimezone().strftime("%Y-%m-%d %H:%M:%S") if at else ""

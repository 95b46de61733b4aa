"""`nightdraft backup` and `nightdraft restore`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from nightdraft.cli.json_output import AsJson, print_json
from nightdraft.cli.options import app, apply_options, setting_option
from records.errors import BackupError, SettingsError
from records.settings import Settings, settings

_KeyFile = Annotated[Path | None, setting_option("backup_key_file")]


@app.command()
def backup(
    target: Annotated[Path | None, typer.Argument(help="The file to write; it is new.")] = None,
    backup_key_file: _KeyFile = None,
    new_key: Annotated[
        Path | None, typer.Option(help="Make a new key in this file, and no backup.")
    ] = None,
    json: AsJson = False,
) -> None:
    """Write database, films and keys into one encrypted file, while the system goes on working."""
    from nightdraft.backup.backing_up import back_up
    from nightdraft.backup.stream import key_id, make_key, read_key

    if new_key is not None:
        make_key(new_key)
        made = key_id(read_key(new_key))
        if json:
            print_json({"key_file": new_key, "key": made})
        else:
            print(f"{new_key} holds the key {made}. Keep a copy where no backup is.")
        return
    if target is None:
        raise BackupError("a backup needs a file to be written to: nightdraft backup TARGET")
    config = apply_options(backup_key_file=backup_key_file)
    key = read_key(_key_file(config))
    with _database(config):
        result = back_up(target, key, settings())
    if json:
        print_json(result)
        return
    number, size = result.films
    print(
        f"{result.path}: {result.size / 1e6:,.0f} MB, with {number} films of {size / 1e6:,.0f} MB "
        f"and {result.dump / 1e6:,.1f} MB of the database"
    )
    if result.missing:
        print(
            f"{result.missing} films are not in it, for their files are gone: "
            "`nightdraft blobs damaged` lists them"
        )


@app.command()
def restore(
    source: Annotated[Path, typer.Argument(help="A backup.")],
    backup_key_file: _KeyFile = None,
    check: Annotated[
        bool, typer.Option("--check", help="Read it to its end, and change nothing.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Read a backup, check all of it, and bring it back into an empty machine."""
    from nightdraft.backup.restoring import check_backup, restore
    from nightdraft.backup.stream import read_key

    config = apply_options(backup_key_file=backup_key_file)
    key = read_key(_key_file(config))
    if check:
        manifest, end = check_backup(source, key)
        if json:
            print_json({"manifest": manifest, "films": end.files, "bytes": end.size})
        else:
            print(
                f"whole: made {manifest.made_at} by version {manifest.version}, with "
                f"{manifest.studies} studies and {end.files} films of {end.size / 1e6:,.0f} MB"
            )
        return
    with _database(config):
        result = restore(source, key, settings())
    if json:
        print_json(result)
        return
    print(
        f"{result.manifest.studies} studies and {result.films} films of {result.manifest.made_at} "
        "are restored: start the station, then call `nightdraft doctor`"
    )
    if result.missing:
        print(f"{result.missing} films had lost their files before the backup was made")


def _key_file(config: Settings) -> Path:
    if not config.backup_key_file:
        raise SettingsError(
            "a backup is encrypted by a key of the site: make one with `nightdraft backup "
            "--new-key FILE`, and name it in NIGHTDRAFT_BACKUP_KEY_FILE"
        )
    return Path(config.backup_key_file).expanduser()


@contextmanager
def _database(config: Settings) -> Iterator[None]:
    """The database that the settings name, or that of a station; one that rests is started."""
    from nightdraft.station.embedded import EmbeddedServers
    from records.database.session import forget_engine

    try:
        config.address("database_url")
    except SettingsError:
        pass
    else:
        yield
        return
    with EmbeddedServers(config.data_dir, valkey=False) as servers:
        os.environ["NIGHTDRAFT_DATABASE_URL"] = servers.database_url
        settings.cache_clear()
        forget_engine()
        try:
            yield
        finally:
            forget_engine()
            del os.environ["NIGHTDRAFT_DATABASE_URL"]
            settings.cache_clear()

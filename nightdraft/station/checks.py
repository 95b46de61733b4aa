"""Checks of what a part needs before it can work: bundle, disk, ports, database, tables, broker.

`nightdraft station` runs them before it starts, `nightdraft doctor` at any time. A check returns a
line for people, and raises an error that says what to do where something is wrong.
"""

from __future__ import annotations

import errno
import shutil
import socket
from pathlib import Path
from typing import Any, Literal

from records.errors import BrokerDown, BundleUnusable, DiskFull, PartError, PortInUse, SettingsError
from records.settings import Settings, place_of

OLDEST_POSTGRESQL = 15
"""The oldest version of PostgreSQL that tables and queries were tested on."""
NO_BUNDLE = (
    "NIGHTDRAFT_BUNDLE is not set: name a model's bundle folder. NIGHTDRAFT_BUNDLE=demo runs the "
    "demonstration model, which knows drawn phantoms only and must not be used on patients"
)


def check_bundle(bundle: str) -> str:
    """Check that every file of the bundle is unchanged; return the bundle's name and digest.

    Raises:
        SettingsError: No bundle is named.
        BundleUnusable: The bundle is missing or damaged.
    """
    from model.errors import BundleError
    from model.manifest import verify

    if not bundle:
        raise SettingsError(NO_BUNDLE)
    try:
        manifest = verify(bundle)
    except BundleError as error:
        raise BundleUnusable(f"NIGHTDRAFT_BUNDLE={bundle}: {error}") from None
    return f"{manifest.name} {manifest.version}, digest {manifest.digest[:12]}"


def check_disk(settings: Settings) -> str:
    """Return a warning where little space is left on the data folder's disk, else nothing.

    Raises:
        DiskFull: Less than NIGHTDRAFT_DISK_STOP_MB is left.
        SettingsError: The whole disk is smaller than that.
    """
    folder = settings.data_dir
    while not folder.exists():
        folder = folder.parent
    usage = shutil.disk_usage(folder)
    free, total = usage.free // 1_000_000, usage.total // 1_000_000
    if total < settings.disk_stop_mb:
        raise SettingsError(
            f"NIGHTDRAFT_DISK_STOP_MB={settings.disk_stop_mb} is more than the whole disk of "
            f"{settings.data_dir} has, which is {total} MB"
        )
    if free < settings.disk_stop_mb:
        raise DiskFull(
            f"{free} MB are left on the disk of {settings.data_dir}, less than "
            f"NIGHTDRAFT_DISK_STOP_MB={settings.disk_stop_mb}: make room"
        )
    if free < settings.disk_warn_mb:
        return (
            f"{free} MB are left on the disk of {settings.data_dir}, less than "
            f"NIGHTDRAFT_DISK_WARN_MB={settings.disk_warn_mb}; receiving stops at "
            f"{settings.disk_stop_mb}"
        )
    return ""


def check_port_free(name: str, host: str, port: int) -> None:
    """Check that a server can listen on the port.

    Args:
        name: The setting that names the port, for the error's text.
        host: The address to listen on.
        port: The port.

    Raises:
        PortInUse: Another program listens on it.
        SettingsError: The host is not this machine's, or the port is a privileged one.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        # Servers set this, too: a connection that was closed a moment ago is no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise PortInUse(
                    f"port {port} on {host} is in use: stop the program that has it, or set {name}"
                ) from None
            hint = ""
            if error.errno == errno.EACCES:
                hint = (
                    ": lower net.ipv4.ip_unprivileged_port_start, start as root (which becomes "
                    "another user), or name a port from 1024 on"
                )
            raise SettingsError(
                f"{name}={port} on {host} cannot be listened on ({error.strerror or error}){hint}"
            ) from None


def check_database(
    settings: Settings, name: Literal["database_url", "migration_database_url"] = "database_url"
) -> str:
    """Check that PostgreSQL answers and is not too old.

    Args:
        settings: The settings.
        name: The setting whose address and role are tried.

    Returns:
        Its version, its address, and whether the connection is encrypted.

    Raises:
        DatabaseDown: It does not answer; the text names its address without the password.
        PartError: It is older than `OLDEST_POSTGRESQL`.
    """
    return look_at_database(settings, name)[0]


def look_at_database(
    settings: Settings, name: Literal["database_url", "migration_database_url"] = "database_url"
) -> tuple[str, str]:
    """As `check_database`; the second text says who could read along, and is empty for nobody."""
    from sqlalchemy import text
    from sqlalchemy.exc import DBAPIError

    from records.database.session import make_engine, tls_problem
    from records.errors import DatabaseDown

    url = settings.address(name)
    if name == "migration_database_url" and not settings.migration_database_url:
        name = "database_url"  # which is the one to correct
    engine = make_engine(url)
    try:
        with engine.connect() as connection:
            version = connection.execute(text("SHOW server_version")).scalar_one()
            wire, problem = _describe_wire(connection.connection.dbapi_connection, place_of(url))
    except DBAPIError as error:
        if told := tls_problem(error):
            raise DatabaseDown(
                f"PostgreSQL at {place_of(url)}: {told} (NIGHTDRAFT_{name.upper()})"
            ) from None
        raise DatabaseDown(
            f"PostgreSQL does not answer at {place_of(url)} ({_short_text(error.orig)}): start it, "
            f"or correct NIGHTDRAFT_{name.upper()}"
        ) from None
    finally:
        engine.dispose()
    number = str(version).split()[0]
    if int(number.partition(".")[0]) < OLDEST_POSTGRESQL:
        raise PartError(
            f"PostgreSQL {number} at {place_of(url)} is too old: "
            f"version {OLDEST_POSTGRESQL} or newer is needed"
        )
    return f"PostgreSQL {number} at {place_of(url)}, {wire}", problem


def _describe_wire(raw: Any, place: str) -> tuple[str, str]:
    """Whether a connection is encrypted, and what is wrong with that.

    Args:
        raw: psycopg2's connection.
        place: where it leads, as `place_of` says it.
    """
    host = str(raw.info.host or "")
    if host.startswith(("/", "@")):
        return "over a socket of this machine", ""
    mode = raw.info.dsn_parameters.get("sslmode", "")
    is_here = host == "localhost" or host.startswith("127.") or host == "::1"
    way = "by sslmode=verify-full&sslrootcert=FILE in NIGHTDRAFT_DATABASE_URL (docs/operate/tls.md)"
    if not raw.info.ssl_in_use:
        problem = "" if is_here else f"the connection to {place} is not encrypted: encrypt it {way}"
        return "not encrypted", problem
    wire = f"encrypted by {raw.info.ssl_attribute('protocol')}"
    if mode == "verify-full":
        return f"{wire}, and its certificate was checked", ""
    problem = f"nobody checked whose certificate {place} shows (sslmode={mode}): have it checked"
    return f"{wire}, with sslmode={mode}", "" if is_here else f"{problem} {way}"


def check_migrations() -> str:
    """Check that the tables have the revision of this version; return it.

    Raises:
        PartError: They have another revision; the text says what to do.
    """
    from sqlalchemy import inspect, text

    import migrations
    from records.database.session import unit_of_work

    newest = migrations.head()
    with unit_of_work() as session:
        migrated = inspect(session.connection()).has_table("alembic_version")
        revision = (
            session.execute(text("SELECT version_num FROM alembic_version")).scalar()
            if migrated
            else None
        )
    migrations.check_known(revision)
    if revision != newest:
        raise PartError(
            f"the tables are at revision {revision or 'none'}, this version needs {newest}: "
            "stop all parts, make a backup, and run `nightdraft migrate` (docs/operate/upgrade.md)"
        )
    return f"tables at revision {newest}"


def check_broker(settings: Settings) -> str:
    """Check that Redis answers and keeps its bells; return its version and address.

    Raises:
        BrokerDown: It does not answer, or may delete bells to save memory.
    """
    from records.broker import broker_client

    url = settings.address("redis_url")
    with broker_client(url) as client:
        info = client.info()
    policy = str(info.get("maxmemory_policy", "noeviction"))
    append_only = bool(info.get("aof_enabled"))
    if policy != "noeviction":
        raise BrokerDown(
            f"Redis at {place_of(url)} has maxmemory-policy {policy}: set it to noeviction, or it "
            "deletes bells"
        )
    persistence = (
        "append-only file on" if append_only else "no append-only file: a restart costs one sweep"
    )
    return f"Redis {info.get('redis_version', '')} at {place_of(url)}, noeviction, {persistence}"


def _short_text(error: BaseException | None) -> str:
    """The start of a connection error's text, which names hosts and databases, never rows."""
    text = " ".join(str(error).split())
    return text[:160] or type(error).__name__


def folder_problem(folder: Path) -> str:
    """Return why a folder cannot be written to, or nothing."""
    probe = folder / f".probe-{socket.gethostname()}"
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        return error.strerror or type(error).__name__
    return ""

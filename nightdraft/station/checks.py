"""What must be there before a part can work, each as one question with one clear answer.

`station` asks before it starts, `doctor` at any time. Knows how to ask, not what depends on it.
"""

from __future__ import annotations

import errno
import shutil
import socket
from pathlib import Path

from records.errors import BrokerDown, BundleUnusable, DiskFull, PartError, PortInUse, SettingsError
from records.settings import Settings, place_of

NO_BUNDLE = (
    "NIGHTDRAFT_BUNDLE is not set: name a model's bundle folder. NIGHTDRAFT_BUNDLE=demo runs the "
    "demonstration model, which knows drawn phantoms only and must not be used on patients"
)


def check_bundle(bundle: str) -> str:
    """The bundle's name and digest, once every file of it was found unchanged.

    Raises:
        SettingsError: no bundle is named.
        BundleUnusable: it is missing or damaged.
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
    """A warning where room is getting short, else nothing.

    Raises:
        DiskFull: less than NIGHTDRAFT_DISK_STOP_MB is left.
    """
    place = settings.data_dir
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free // 1_000_000
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
    """That the port can be bound.

    Raises:
        PortInUse: another program has it.
        SettingsError: the host is none of this machine's, or the port is a privileged one.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        # As servers do: a connection that was closed a moment ago does not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise PortInUse(
                    f"port {port} on {host} is in use: stop the program that has it, or set {name}"
                ) from None
            raise SettingsError(
                f"{name}={port} on {host} cannot be listened on ({error.strerror or error})"
            ) from None


def check_database(settings: Settings) -> str:
    """The server's version.

    Raises:
        DatabaseDown: it does not answer; where, without the password.
    """
    from sqlalchemy import text
    from sqlalchemy.exc import DBAPIError

    from records.database.session import make_engine
    from records.errors import DatabaseDown

    url = settings.address("database_url")
    engine = make_engine(url)
    try:
        with engine.connect() as connection:
            version = connection.execute(text("SHOW server_version")).scalar_one()
    except DBAPIError as error:
        raise DatabaseDown(
            f"PostgreSQL does not answer at {place_of(url)} ({_why(error.orig)}): start it, or "
            "correct NIGHTDRAFT_DATABASE_URL"
        ) from None
    finally:
        engine.dispose()
    return f"PostgreSQL {str(version).split()[0]} at {place_of(url)}"


def check_migrations() -> str:
    """The revision that the tables have, once it is the one that this software knows.

    Raises:
        PartError: they have another one.
    """
    from sqlalchemy import inspect, text

    import migrations
    from records.database.session import unit_of_work

    newest = migrations.head()
    with unit_of_work() as session:
        there = inspect(session.connection()).has_table("alembic_version")
        found = (
            session.execute(text("SELECT version_num FROM alembic_version")).scalar()
            if there
            else None
        )
    if found != newest:
        raise PartError(
            f"the tables are at revision {found or 'none'}, this software wants {newest}: "
            "run `nightdraft migrate`"
        )
    return f"tables at revision {newest}"


def check_broker(settings: Settings) -> str:
    """The server's version, once it keeps what it is given.

    Raises:
        BrokerDown: it does not answer, or may throw bells away.
    """
    from records.broker import broker_client

    url = settings.address("redis_url")
    with broker_client(url) as client:
        info = client.info()
    policy = str(info.get("maxmemory_policy", "noeviction"))
    appended = bool(info.get("aof_enabled"))
    if policy != "noeviction":
        raise BrokerDown(
            f"Redis at {place_of(url)} has maxmemory-policy {policy}: set it to noeviction, or bells "
            "are thrown away"
        )
    kept = "append-only file on" if appended else "no append-only file: a restart costs one sweep"
    return f"Redis {info.get('redis_version', '')} at {place_of(url)}, noeviction, {kept}"


def _why(error: BaseException | None) -> str:
    """A connection's error in its first words; they name hosts and databases, never rows."""
    words = " ".join(str(error).split())
    return words[:160] or type(error).__name__


def folder_problem(folder: Path) -> str:
    """Why a folder cannot be written to, or nothing."""
    probe = folder / f".probe-{socket.gethostname()}"
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        return error.strerror or type(error).__name__
    return ""

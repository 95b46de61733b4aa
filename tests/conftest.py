"""What tests share: real servers from wheels, a fresh database, an emptied broker, a data folder.

Every fixture that sets a NIGHTDRAFT_* variable sets it in the environment, so that child processes
of a test see it too, and makes this process read its settings again.
"""

from __future__ import annotations

import copy
import gc
import itertools
import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import psycopg2
import pytest
import redis
import structlog
from kombu import pools
from pynetdicom.transport import AssociationSocket

import migrations
from nightdraft.station.embedded import EmbeddedServers
from nightdraft.station.embedded_postgres import PARTS_ROLE
from nightdraft.station.wheels import free_port as any_free_port
from records.blobs import Blobs
from records.broker import celery_url
from records.database.roles import Login
from records.database.session import engine, forget_engine, make_engine
from records.settings import settings
from tests.support.byte_proxy import ByteProxy
from worker.app import app

_TEMPLATE = "template_migrated"
_MEMORY = Path("/dev/shm")
_MEMORY_NEEDED = 4 << 30
_numbers = itertools.count(1)

_FILLED_SECONDS = 120.0
"""How old filled rows may be when a test gets a copy: what is shown of some depends on the time."""


def pytest_configure() -> None:
    """Collecting makes millions of objects that stay: looking for garbage among them is in vain.

    Where the caller wants no compiled modules kept, each of the hundreds of processes that tests
    start would compile every module again.
    """
    gc.disable()
    sys.dont_write_bytecode = False
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


def pytest_collection_finish() -> None:
    """Look for garbage among what tests make alone, which costs a fifth less processor time."""
    gc.enable()
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)


def _read_settings_again() -> None:
    if engine.cache_info().currsize:
        engine().dispose()
    forget_engine()
    settings.cache_clear()


@pytest.fixture(autouse=True)
def _log_configuration_restored() -> Iterator[None]:
    """A command that a test runs in this process sets logs up; the next test starts without."""
    config = structlog.get_config()
    yield
    structlog.configure(**config)


@pytest.fixture(scope="session")
def trail_key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the tests' key of the trail is; each test has a database of its own."""
    return tmp_path_factory.mktemp("trail") / "key"


@pytest.fixture(autouse=True)
def _no_settings_of_this_machine(
    monkeypatch: pytest.MonkeyPatch, trail_key_file: Path
) -> Iterator[None]:
    """The caller's own NIGHTDRAFT_* variables, file and caches do not reach into a test."""
    for name in list(os.environ):
        if name.startswith("NIGHTDRAFT_") and name != "NIGHTDRAFT_SAMPLES":
            monkeypatch.delenv(name)
    monkeypatch.setenv("NIGHTDRAFT_CONFIG", "")
    if os.geteuid() == 0:
        # Its parts may read pytest's folders, wherever this Python lies; `test_privileges` has
        # parts that give root up.
        monkeypatch.setenv("NIGHTDRAFT_USER", "root")
    # A test without a data folder of its own must not write into its caller's.
    monkeypatch.setenv("NIGHTDRAFT_TRAIL_KEY_FILE", str(trail_key_file))
    _read_settings_again()
    yield
    _read_settings_again()


@pytest.fixture(scope="session", autouse=True)
def _senders_close_their_sockets() -> Iterator[None]:
    """pynetdicom leaves a socket to the garbage collector where the other side hung up first.

    Whichever test runs when it is collected would fail with the warning.
    """

    def close(connection: AssociationSocket) -> None:
        if connection.socket is not None:
            with suppress(OSError):
                connection.socket.shutdown(socket.SHUT_RDWR)
            connection.socket.close()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AssociationSocket, "_shutdown_socket", close)
        yield


@pytest.fixture(scope="session")
def samples() -> Path:
    """The folder of sample files; tests that need it skip by name where it is not."""
    named = os.environ.get("NIGHTDRAFT_SAMPLES", "")
    if not named or not Path(named).is_dir():
        pytest.skip("no samples: NIGHTDRAFT_SAMPLES names no folder")
    return Path(named)


@pytest.fixture
def setting(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`setting(quiet_seconds=1)`: set settings for this test and its child processes."""

    def set_them(**values: object) -> None:
        for name, value in values.items():
            monkeypatch.setenv(f"NIGHTDRAFT_{name.upper()}", str(value))
        _read_settings_again()

    return set_them


@pytest.fixture(scope="session")
def short_folder() -> Iterator[Callable[[], Path]]:
    """Makes folders that PostgreSQL's user may pass through; removed at the end.

    pytest's own folders are closed to other users, and too deep for a Unix socket. They are in
    memory where there is enough: most of the time to make a database goes into its 800 files.
    """
    folders: list[Path] = []
    parent = _MEMORY if _is_roomy(_MEMORY) else None

    def make() -> Path:
        folder = Path(tempfile.mkdtemp(prefix="nightdraft-test-", dir=parent))
        folder.chmod(0o711)
        folders.append(folder)
        return folder

    yield make
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def servers(short_folder: Callable[[], Path]) -> Iterator[EmbeddedServers]:
    """PostgreSQL and Valkey for the whole session, with one migrated database as a template."""
    with EmbeddedServers(short_folder(), durable=False) as running:
        _run_sql(running, f'CREATE DATABASE "{_TEMPLATE}"')
        engine = make_engine(_url(running, _TEMPLATE, "postgresql+psycopg2"))
        migrations.upgrade(engine)
        engine.dispose()
        yield running


@pytest.fixture
def empty_database(servers: EmbeddedServers, setting: Callable[..., None]) -> Iterator[str]:
    """A fresh database without tables: its URL, which is NIGHTDRAFT_DATABASE_URL too."""
    yield from _database(servers, setting, "template0")


@pytest.fixture
def database(servers: EmbeddedServers, setting: Callable[..., None]) -> Iterator[str]:
    """A fresh migrated database: its URL, which is NIGHTDRAFT_DATABASE_URL too."""
    yield from _database(servers, setting, _TEMPLATE)


@pytest.fixture(scope="module")
def shared_database(servers: EmbeddedServers) -> Iterator[str]:
    """A fresh migrated database for all tests of a file: its URL, which each test sets itself."""
    with _new_database(servers, _TEMPLATE) as url:
        yield url


@pytest.fixture
def parts_database(database: str, setting: Callable[..., None]) -> str:
    """`database`, whose address now is that of the running parts' role; the URL of that role."""
    owner = make_engine(database.replace("postgresql://", "postgresql+psycopg2://", 1))
    migrations.upgrade(owner, login=Login(PARTS_ROLE))
    owner.dispose()
    url = database.replace("nightdraft@", f"{PARTS_ROLE}@", 1)
    setting(database_url=url, migration_database_url=database)
    return url


def _let_app_ring_at(url: str) -> None:
    """The Celery app reads its settings once, perhaps in a test of another server."""
    app.conf.broker_url = celery_url(url)
    pools.reset()
    app._pool = app.amqp._producer_pool = None


@pytest.fixture
def broker(servers: EmbeddedServers, setting: Callable[..., None]) -> Iterator[str]:
    """An emptied Valkey: its URL, which is NIGHTDRAFT_REDIS_URL too."""
    servers.restart_dead()
    with redis.Redis.from_url(servers.owner_redis_url) as connection:
        connection.flushall()
    setting(redis_url=servers.owner_redis_url)
    _let_app_ring_at(servers.owner_redis_url)
    yield servers.owner_redis_url
    servers.restart_dead()


@pytest.fixture
def database_proxy(
    database: str, short_folder: Callable[[], Path], setting: Callable[..., None]
) -> Iterator[ByteProxy]:
    """A proxy before `database`, over which NIGHTDRAFT_DATABASE_URL now goes."""
    folder = short_folder()
    sockets = unquote(database.rpartition("host=")[2])
    name = ".s.PGSQL.5432"
    with ByteProxy(f"{sockets}/{name}", f"{folder}/{name}") as proxy:
        proxy.url = f"{database.rpartition('host=')[0]}host={quote(str(folder))}"
        setting(database_url=proxy.url)
        yield proxy
        _read_settings_again()


@pytest.fixture
def data_dir(short_folder: Callable[[], Path], setting: Callable[..., None]) -> Iterator[Path]:
    """A fresh data folder with its blob folders; it is NIGHTDRAFT_DATA_DIR too."""
    with _data_folder(short_folder) as folder:
        setting(data_dir=folder)
        yield folder


@contextmanager
def _data_folder(short_folder: Callable[[], Path]) -> Iterator[Path]:
    folder = short_folder()
    Blobs(folder).make_folders()
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def free_port() -> int:
    """A free port on loopback."""
    return any_free_port()


def _is_roomy(folder: Path) -> bool:
    return folder.is_dir() and shutil.disk_usage(folder).free > _MEMORY_NEEDED


def _database(
    servers: EmbeddedServers, setting: Callable[..., None], template: str
) -> Iterator[str]:
    with _new_database(servers, template) as url:
        setting(database_url=url)
        yield url


@contextmanager
def _new_database(servers: EmbeddedServers, template: str) -> Iterator[str]:
    servers.restart_dead()
    name = f"test_{next(_numbers)}"
    _run_sql(servers, f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY FILE_COPY')
    yield _url(servers, name)
    _read_settings_again()
    _run_sql(servers, f'DROP DATABASE "{name}" WITH (FORCE)')


@dataclass(frozen=True)
class _Filled:
    """A database and a data folder that were filled once, to be copied for each test."""

    database: str
    folder: Path
    found: Any
    made_at: float
    cleanup: ExitStack


@pytest.fixture(scope="module")
def _filled_here() -> Iterator[dict[Callable[[Path], Any], _Filled]]:
    """What the tests of this file have filled, by the function that fills it."""
    filled: dict[Callable[[Path], Any], _Filled] = {}
    yield filled
    for one in filled.values():
        one.cleanup.close()


@pytest.fixture
def filled_copy(
    servers: EmbeddedServers,
    short_folder: Callable[[], Path],
    setting: Callable[..., None],
    _filled_here: dict[Callable[[Path], Any], _Filled],
) -> Iterator[Callable[[Callable[[Path], Any]], Any]]:
    """`filled_copy(fill)` gives this test a database and a data folder as `fill(folder)` left them.

    It returns what `fill` returned. The first test of a file that asks has them filled, and so has
    one that comes later than two minutes after it. Each test has a copy of its own, and the
    settings name it. What `fill` needs of other settings is set before.
    """

    def make(fill: Callable[[Path], Any]) -> _Filled:
        with ExitStack() as stack:
            url = stack.enter_context(_new_database(servers, _TEMPLATE))
            folder = stack.enter_context(_data_folder(short_folder))
            setting(database_url=url, data_dir=folder)
            made_at = time.monotonic()
            found = fill(folder)
            _read_settings_again()  # nobody may be connected to what is copied
            name = url.partition("@/")[2].partition("?")[0]
            return _Filled(name, folder, found, made_at, stack.pop_all())

    with ExitStack() as stack:

        def copy_of(fill: Callable[[Path], Any]) -> Any:
            filled = _filled_here.get(fill)
            if filled is not None and time.monotonic() - filled.made_at > _FILLED_SECONDS:
                _filled_here.pop(fill).cleanup.close()
                filled = None
            if filled is None:
                filled = _filled_here[fill] = make(fill)
            url = stack.enter_context(_new_database(servers, filled.database))
            folder = stack.enter_context(_data_folder(short_folder))
            shutil.copytree(filled.folder, folder, dirs_exist_ok=True)
            setting(database_url=url, data_dir=folder)
            return copy.deepcopy(filled.found)

        yield copy_of


def _url(servers: EmbeddedServers, name: str, scheme: str = "postgresql") -> str:
    """The servers' URL with another database and scheme."""
    return servers.owner_url.replace(
        "postgresql://nightdraft@/nightdraft?", f"{scheme}://nightdraft@/{name}?"
    )


def _run_sql(servers: EmbeddedServers, statement: str) -> None:
    connection = psycopg2.connect(servers.owner_url)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
    finally:
        connection.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI nothing may be left out: a skipped test has failed, and says what it missed."""
    report = yield
    if report.skipped and os.environ.get("CI") == "true":
        report.outcome = "failed"
        report.longrepr = f"skipped, which CI does not allow: {report.longrepr}"
    return report

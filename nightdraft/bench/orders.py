"""`nightdraft bench orders`: orders a minute over MLLP, ours beside servers that store nothing.

Several connections send orders at the same time, each of which waits for its answer before it sends
the next. Ours answers after the commit, on a PostgreSQL that syncs. The others, where they are
installed, parse a message and answer it: hl7apy's MLLPServer, and node-hl7-server in a folder of
Node modules that NODE_PATH names. hl7apy ends a connection after each answer.
"""

from __future__ import annotations

import importlib.util
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from intake.hl7.mllp import FrameReader, make_frame
from nightdraft.bench.machine import machine_facts, summarise
from nightdraft.station.embedded import EmbeddedServers
from nightdraft.station.processes import end_processes
from nightdraft.station.wheels import free_port
from records.errors import PartError

TARGET_PER_MINUTE = 10_000

_START_TIMEOUT = 60.0
_ANSWER_TIMEOUT = 60.0
_ATTEMPTS = 5
"""How often an order is sent: hl7apy turns connections away where many come at once."""

_HL7APY = """
import sys
from hl7apy.mllp import AbstractHandler, MLLPServer
from hl7apy.parser import parse_message

class Handler(AbstractHandler):
    def reply(self):
        control_id = parse_message(self.incoming_message).msh.msh_10.to_er7()
        return f"\\x0bMSH|^~\\\\&|||||||ACK^O01|1|P|2.5.1\\rMSA|AA|{control_id}\\r\\x1c\\r"

MLLPServer("127.0.0.1", int(sys.argv[1]), {"ORM^O01^ORM_O01": (Handler,)}).serve_forever()
"""

_NODE = """
const { Server } = require('node-hl7-server');
const server = new Server({ bindAddress: '127.0.0.1' });
server.createInbound({ port: Number(process.argv[1]) }, async (req, res) => {
  req.getMessage(); await res.sendResponse('AA');
});
"""


@dataclass(frozen=True)
class OrderServer:
    """A server to measure.

    Attributes:
        name: In the table.
        command: Makes the command line from the port.
        is_installed: Whether it can run here.
        promise: What has happened to a message when it is answered.
    """

    name: str
    command: Callable[[int], list[str]]
    is_installed: Callable[[], bool]
    promise: str


def _has_node_server() -> bool:
    if shutil.which("node") is None:
        return False
    question = ["node", "-e", "require.resolve('node-hl7-server')"]
    return subprocess.run(question, capture_output=True, check=False).returncode == 0


OURS = OrderServer(
    "nightdraft listen --hl7",
    lambda _: [sys.executable, "-m", "nightdraft", "listen", "--hl7"],
    lambda: True,
    "committed",
)

SERVERS = (
    OURS,
    OrderServer(
        "hl7apy MLLPServer",
        lambda port: [sys.executable, "-c", _HL7APY, str(port)],
        lambda: importlib.util.find_spec("hl7apy") is not None,
        "parsed",
    ),
    OrderServer(
        "node-hl7-server",
        lambda port: ["node", "-e", _NODE, str(port)],
        _has_node_server,
        "parsed",
    ),
)


def measure(orders: int, connections: int, runs: int, log: Callable[[str], None]) -> dict[str, Any]:
    """Send orders to each installed server, several times.

    Args:
        orders: How many orders each run sends.
        connections: How many connections send at the same time.
        runs: How many runs; the median counts.
        log: Gets a line for each run.

    Returns:
        The measurements, as JSON has them.

    Raises:
        PartError: A server did not start, or did not answer every order with AA.
    """
    installed = [server for server in SERVERS if server.is_installed()]
    per_minute: dict[str, list[float]] = {server.name: [] for server in installed}
    for run in range(runs):
        for server in installed[:: -1 if run % 2 else 1]:
            folder = Path(tempfile.mkdtemp(prefix="nightdraft-bench-"))
            folder.chmod(0o711)  # PostgreSQL's user passes through
            try:
                with _running(server, folder) as port:
                    seconds = _send(port, orders, connections)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
            per_minute[server.name].append(60 * orders / seconds)
            log(f"run {run + 1} of {runs}, {server.name}: {60 * orders / seconds:,.0f} a minute")
    return {
        "bench": "orders",
        "orders": orders,
        "connections": connections,
        "runs": runs,
        "target_per_minute": TARGET_PER_MINUTE,
        "not_installed": [server.name for server in SERVERS if server not in installed],
        "servers": [
            {
                "name": server.name,
                "promise": server.promise,
                "orders_per_minute": summarise(per_minute[server.name]),
            }
            for server in installed
        ],
        **machine_facts(),
    }


def render(measurements: dict[str, Any]) -> RenderableType:
    """The measurements as a table."""
    table = Table(title=f"{measurements['orders']} orders, {measurements['connections']} at once")
    table.add_column("server")
    table.add_column("what is done when it answers")
    table.add_column("orders a minute", justify="right")
    table.add_column("least to greatest", justify="right")
    for server in measurements["servers"]:
        pace = server["orders_per_minute"]
        table.add_row(
            server["name"],
            server["promise"],
            f"{pace['median']:,.0f}",
            f"{pace['least']:,.0f} to {pace['greatest']:,.0f}",
        )
    lines = [Text(f"not installed: {name}") for name in measurements["not_installed"]]
    return Group(table, *lines)


def make_order(number: int) -> bytes:
    """An imaging order, as a RIS sends it."""
    segments = (
        f"MSH|^~\\&|BENCH|HOSPITAL|NIGHTDRAFT|WARD|20260102030405||ORM^O01^ORM_O01|{number}|P|2.5.1",
        f"PID|1||{number // 2}^^^ADT^MR||Phantom^{number // 2}||19700101|F",
        f"PV1|1|I|^^^NORTH{'|' * 16}V{number}^^^ADT",
        f"ORC|NW|{number}|F{number}",
        "TQ1|1||||||202601020400||R",
        f"OBR|1|{number}|F{number}|CXR^Chest PA and lateral{'|' * 9}Smoker.{'|' * 5}A{number}"
        f"{'|' * 13}R05^Cough and fever for three days.",
        f"ZDS|1.2.826.0.1.3680043.10.1.{number}^^^DICOM",
    )
    return "".join(f"{segment}\r" for segment in segments).encode()


@contextmanager
def _running(server: OrderServer, folder: Path) -> Iterator[int]:
    """Run the server; yield its port."""
    port = free_port()
    with ExitStack() as cleanup:
        env = dict(os.environ)
        if server is OURS:
            env = cleanup.enter_context(_own_database(folder, port))
        with (folder / "output.log").open("wb") as output:
            process = subprocess.Popen(server.command(port), stdout=output, stderr=output, env=env)
        cleanup.callback(end_processes, [process], signal.SIGTERM, 30)
        deadline = time.monotonic() + _START_TIMEOUT
        while time.monotonic() < deadline and process.poll() is None:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.05)
        else:
            lines = (folder / "output.log").read_text(errors="replace").strip().splitlines()
            raise PartError(f"{server.name} does not start: {(lines or ['no message'])[-1]}")
        yield port


@contextmanager
def _own_database(folder: Path, port: int) -> Iterator[dict[str, str]]:
    """Yield our listener's environment: a PostgreSQL that syncs, and no setting of the caller."""
    import migrations
    from records.config_file import without_settings
    from records.database.session import make_engine
    from records.settings import read_settings

    with EmbeddedServers(folder, valkey=False) as servers:
        engine = make_engine(read_settings(database_url=servers.owner_url).address("database_url"))
        migrations.upgrade(engine)
        engine.dispose()
        yield without_settings(os.environ) | {
            "NIGHTDRAFT_DATABASE_URL": servers.owner_url,
            "NIGHTDRAFT_DATA_DIR": str(folder),
            "NIGHTDRAFT_USER": "root",  # where root measures: the folder is closed to others
            "NIGHTDRAFT_HL7_PORT": str(port),
            "NIGHTDRAFT_LOG_LEVEL": "warning",
        }


def _send(port: int, orders: int, connections: int) -> float:
    """Seconds until every order was answered with AA.

    Raises:
        PartError: One was not.
    """
    failures: list[int] = []

    def send_share(first: int) -> None:
        numbers = range(first, orders, connections)
        failures.extend(_send_each(port, [(n, make_frame(make_order(n))) for n in numbers]))

    threads = [threading.Thread(target=send_share, args=(n,)) for n in range(connections)]
    started = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    elapsed = time.monotonic() - started
    if failures:
        raise PartError(f"{len(failures)} of {orders} orders were not answered with AA")
    return elapsed


def _send_each(port: int, frames: Sequence[tuple[int, bytes]]) -> list[int]:
    """Send frames one after the other; returns those that were not answered with AA."""
    connection: socket.socket | None = None
    attempts = [pair for pair in frames for _ in range(_ATTEMPTS)]
    answered: set[int] = set()
    for number, frame in attempts:
        if number in answered:
            continue
        answer = b""
        with suppress(OSError):
            if connection is None:
                connection = socket.create_connection(("127.0.0.1", port), _ANSWER_TIMEOUT)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                reader = FrameReader(1 << 20)
            connection.sendall(frame)
            while not answer and (data := connection.recv(65_536)):
                answer = next((f.content for f in reader.feed(data)), b"")
            # A server that ends each connection has sent its end together with the answer, or
            # sends it now; only then the next order needs another connection.
            if _has_ended(connection):
                connection.close()
                connection = None
        if f"MSA|AA|{number}".encode() in answer:
            answered.add(number)
        elif connection is not None:
            connection.close()
            connection = None
    if connection is not None:
        connection.close()
    return [number for number, _ in frames if number not in answered]


def _has_ended(connection: socket.socket) -> bool:
    readable, _, _ = select.select([connection], [], [], 0)
    return bool(readable) and connection.recv(1, socket.MSG_PEEK) == b""

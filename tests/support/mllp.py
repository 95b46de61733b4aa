"""An HL7 listener in this process, and a sender of MLLP frames."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from intake.hl7.listener import Hl7Listener
from intake.hl7.mllp import FrameReader, make_frame
from records.settings import settings

NAME = "Doe^Jane"


def make_message(
    *segments: str,
    kind: str = "ORM^O01",
    control_id: str = "1",
    processing_id: str = "P",
    sender: str = "RIS|HOSPITAL",
    rest: str = "",
) -> bytes:
    """A message with MSH; `rest` is what follows MSH-12."""
    header = (
        f"MSH|^~\\&|{sender}|NIGHTDRAFT|WARD|20260102030405||{kind}|{control_id}|{processing_id}"
    )
    return "".join(f"{line}\r" for line in (f"{header}|2.5.1{rest}", *segments)).encode()


def make_segment(name: str, fields: dict[int, object]) -> str:
    """A segment with these fields."""
    return "|".join([name, *(str(fields.get(n, "")) for n in range(1, max(fields) + 1))])


def make_order(
    number: str = "77",
    *,
    patient: str = "4711^^^ADT^MR",
    control: str = "NW",
    accession: str = "A1",
    reason: str = "Fever and cough.",
    **options: str,
) -> bytes:
    """An ORM^O01 of one order."""
    return make_message(
        f"PID|1||{patient}||{NAME}||19700101|F",
        f"ORC|{control}|{number}",
        make_segment("OBR", {1: 1, 2: number, 4: "CXR^Chest PA", 18: accession, 31: f"^{reason}"}),
        **options,
    )


class MllpSender:
    """A connection to a listener."""

    def __init__(self, port: int, *, timeout: float = 60.0) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout)
        self._frames = FrameReader(1 << 30)
        self._waiting: list[str] = []

    def __enter__(self) -> MllpSender:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, content: bytes) -> str:
        """Send a message and return its answer."""
        self.socket.sendall(make_frame(content))
        return self.receive()

    def receive(self) -> str:
        """The next answer; "" where the listener has closed the connection."""
        while not self._waiting:
            data = self.socket.recv(65_536)
            if not data:
                return ""
            self._waiting += [f.content.decode("latin-1") for f in self._frames.feed(data)]
        return self._waiting.pop(0)


@contextmanager
def running_listener() -> Iterator[Hl7Listener]:
    """A listener on a free port, in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def run(coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(60)

    listener = Hl7Listener(settings())
    try:
        run(listener.start())
        try:
            yield listener
        finally:
            run(listener.stop())
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def field(answer: str, segment: str, number: int) -> str:
    """A field of an answer; "" where there is none."""
    for line in answer.split("\r"):
        fields = line.split("|")
        if fields[0] == segment:
            index = number - 1 if segment == "MSH" else number
            return fields[index] if index < len(fields) else ""
    return ""

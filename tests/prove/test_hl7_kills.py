"""The HL7 listener is killed at every named point, and again and again at random moments.

Slow; `make prove-chaos`. The results are in docs/develop/chaos.md.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count, takewhile
from pathlib import Path

import pytest
from sqlalchemy import func, select

from records.database.order_tables import Order, OrderChange, ReceivedMessage
from records.database.session import unit_of_work
from tests.support.hl7_kills import KilledListener, killed_listener, send_until_answered

POINTS = ["hl7-received", "hl7-before-commit", "hl7-before-answer", "hl7-answered"]
SENDERS, ORDERS = 4, 100
KILLS = 50
FIRST_NUMBERS = range(0, SENDERS * 1_000_000, 1_000_000)
"""Each sender numbers its orders from one of these on, so that no two senders share a number."""


def send_all(listener: KilledListener, ranges: Iterable[Iterable[int]]) -> list[str]:
    """Send orders over several connections; the numbers that were acknowledged."""
    with ThreadPoolExecutor(SENDERS) as pool:
        answered = list(pool.map(partial(send_until_answered, listener), ranges))
    return sorted(number for numbers in answered for number in numbers)


def check(acknowledged: list[str]) -> int:
    """Nothing that was acknowledged is lost or has two effects; how many were sent again."""
    with unit_of_work() as session:
        assert sorted(session.scalars(select(Order.placer_order_number))) == acknowledged
        for table in (OrderChange, ReceivedMessage):
            rows = session.scalar(select(func.count()).select_from(table))
            assert rows == len(acknowledged), table
        return session.scalar(select(func.sum(ReceivedMessage.repeats))) or 0


@pytest.mark.timeout(600)
@pytest.mark.parametrize("point", POINTS)
def test_killed_at_a_named_point(
    database: str,
    data_dir: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    point: str,
) -> None:
    mark = tmp_path / "killed"
    with killed_listener(tmp_path / "log", point, mark) as listener:
        acknowledged = send_all(listener, [range(n, n + ORDERS) for n in FIRST_NUMBERS])
    assert mark.exists(), "the point was never reached"
    assert listener.starts == 2
    assert len(acknowledged) == SENDERS * ORDERS
    repeats = check(acknowledged)
    with capsys.disabled():
        print(f"\n{point}: {len(acknowledged)} orders, {repeats} stored before their repetition")


@pytest.mark.timeout(1800)
def test_killed_at_random_moments(
    database: str,
    data_dir: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    is_done = threading.Event()

    def numbers(first: int) -> Iterable[int]:
        return takewhile(lambda _: not is_done.is_set(), count(first))

    with (
        killed_listener(tmp_path / "log") as listener,
        ThreadPoolExecutor(1) as sending,
    ):
        sent = sending.submit(send_all, listener, map(numbers, FIRST_NUMBERS))
        try:
            own = kill_again_and_again(listener)
        finally:
            is_done.set()
        acknowledged = sorted(sent.result() + own)
    assert listener.starts == 1 + KILLS
    repeats = check(acknowledged)
    with capsys.disabled():
        print(
            f"\n{KILLS} kills at random: {len(acknowledged)} orders,"
            f" {repeats} stored before their repetition"
        )


def kill_again_and_again(listener: KilledListener) -> list[str]:
    """Kill the listener within half a second after each time that it answers again.

    Returns:
        The numbers of the orders whose answers said that it is there.
    """
    moments = random.Random(12)
    first = FIRST_NUMBERS.stop
    acknowledged = []
    for number in range(first, first + KILLS):
        acknowledged += send_until_answered(listener, [number])
        threading.Event().wait(moments.uniform(0, 0.5))
        listener.kill()
    return acknowledged + send_until_answered(listener, [first + KILLS])

"""The HL7 listener is killed at every named point, and again and again at random moments.

Slow; `make prove-chaos`. The results are in docs/develop/chaos.md.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import func, select

from records.database.order_tables import Order, OrderChange, ReceivedMessage
from records.database.session import unit_of_work
from tests.support.hl7_kills import KilledListener, killed_listener, send_until_answered

POINTS = ["hl7-received", "hl7-before-commit", "hl7-before-answer", "hl7-answered"]
SENDERS, ORDERS = 4, 100
KILLS = 12


def send_all(listener: KilledListener) -> list[str]:
    """Send orders over several connections; the numbers that were acknowledged."""
    ranges = [range(n * ORDERS, (n + 1) * ORDERS) for n in range(SENDERS)]
    with ThreadPoolExecutor(SENDERS) as pool:
        answered = list(pool.map(partial(send_until_answered, listener), ranges))
    return sorted(number for numbers in answered for number in numbers)


def check(acknowledged: list[str]) -> None:
    """Nothing that was acknowledged is lost, and nothing has two effects."""
    assert len(acknowledged) == SENDERS * ORDERS
    with unit_of_work() as session:
        assert sorted(session.scalars(select(Order.placer_order_number))) == acknowledged
        for table in (OrderChange, ReceivedMessage):
            count = session.scalar(select(func.count()).select_from(table))
            assert count == len(acknowledged), table


@pytest.mark.timeout(600)
@pytest.mark.parametrize("point", POINTS)
def test_killed_at_a_named_point(
    database: str, data_dir: Callable[..., Path], tmp_path: Path, point: str
) -> None:
    with killed_listener(tmp_path / "log", point, tmp_path / "killed") as listener:
        acknowledged = send_all(listener)
    assert listener.starts == 2
    check(acknowledged)


@pytest.mark.timeout(1200)
def test_killed_at_random_moments(
    database: str, data_dir: Callable[..., Path], tmp_path: Path
) -> None:
    moments = random.Random(12)
    with killed_listener(tmp_path / "log") as listener:
        is_done = threading.Event()

        def kill() -> None:
            for _ in range(KILLS):
                if is_done.wait(moments.uniform(2, 8)):
                    return
                listener.kill()

        killer = threading.Thread(target=kill)
        killer.start()
        acknowledged = send_all(listener)
        is_done.set()
        killer.join()
    check(acknowledged)

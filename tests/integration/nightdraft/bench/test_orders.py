"""Orders a minute are measured on servers that answer each order."""

import io

import pytest
from rich.console import Console

from nightdraft.bench import orders
from records.errors import PartError


def test_every_server_answers_every_order() -> None:
    lines: list[str] = []
    measured = orders.measure(24, 3, 1, lines.append)
    names = [server["name"] for server in measured["servers"]]
    assert names[:2] == ["nightdraft listen --hl7", "hl7apy MLLPServer"]
    assert len(lines) == len(names)
    assert all(server["orders_per_minute"]["median"] > 0 for server in measured["servers"])
    console = Console(file=io.StringIO(), width=120)
    console.print(orders.render(measured))
    assert "committed" in console.file.getvalue()


def test_a_server_that_does_not_accept_orders_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orders, "SERVERS", (orders.OURS,))
    monkeypatch.setattr(
        orders, "make_order", lambda number: b"MSH|^~\\&|A||||||ORM^O01|%d" % number
    )
    with pytest.raises(PartError, match="2 of 2 orders were not answered with AA"):
        orders.measure(2, 1, 1, lambda _: None)

"""The plans by which PostgreSQL answers the statements of a block."""

from __future__ import annotations

import json
from contextlib import contextmanager

from sqlalchemy import event

from records.database.session import engine


@contextmanager
def explained():
    """The plans of the statements that are run within the block: [(statement, plan)]."""
    plans = []
    busy = False

    def explain(connection, cursor, statement, parameters, context, executemany):
        nonlocal busy
        verb = statement.lstrip().split(" ", 1)[0].upper()
        if busy or executemany or verb not in ("SELECT", "WITH", "UPDATE", "DELETE"):
            return
        busy = True
        try:
            with connection.connection.cursor() as other:
                other.execute(f"EXPLAIN (FORMAT JSON) {statement}", parameters)
                plan = other.fetchone()[0]
                plan = json.loads(plan) if isinstance(plan, str) else plan
                plans.append((statement, plan[0]["Plan"]))
        finally:
            busy = False

    event.listen(engine(), "before_cursor_execute", explain)
    try:
        yield plans
    finally:
        event.remove(engine(), "before_cursor_execute", explain)


def nodes(plan):
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)

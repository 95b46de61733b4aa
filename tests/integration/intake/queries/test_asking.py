"""How one system is asked: what is recorded of one that is away, in a pause that is long."""

from __future__ import annotations

from types import SimpleNamespace

from intake import turns
from intake.queries.asking import Asker, Limits
from intake.turns import SystemAway
from records.alarm_kinds import AlarmKind
from records.database.operation_tables import Observation
from records.database.session import unit_of_work
from records.states import QueryKind
from tests.support.waiting import eventually


def test_the_light_of_a_system_that_is_away_stays_fresh_in_a_long_pause(database, monkeypatch):
    monkeypatch.setattr(turns, "LIGHT_SECONDS", 0.05)
    monkeypatch.setattr(turns, "FIRST_PAUSE_SECONDS", 600.0)
    monkeypatch.setattr(turns, "LAST_PAUSE_SECONDS", 600.0)
    checks = []

    def check():
        checks.append(1)
        raise SystemAway("it does not answer")

    asker = Asker(
        SimpleNamespace(
            kind=QueryKind.WORKLIST,
            name="worklist",
            alarm_kind=AlarmKind.WORKLIST_AWAY,
            limits=Limits(60.0, 3, 1.0, 3600.0, 0.0),
            check=check,
        )
    )

    def looked_at():
        with unit_of_work() as session:
            (row,) = session.query(Observation).filter_by(name="worklist").all() or [None]
            return row and (row.looked_at, row.is_well)

    asker.start()
    try:
        eventually(looked_at)
        first, is_well = looked_at()
        assert not is_well
        eventually(lambda: looked_at()[0] > first)
        assert len(checks) == 1  # it was left alone meanwhile
    finally:
        asker.stop()
        asker.join(30)
    assert not asker.is_alive()

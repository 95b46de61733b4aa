"""Tables that the planner knows nothing of."""

from sqlalchemy import text

from records.database.session import engine, unit_of_work
from records.database.statistics import unanalysed_tables


def unanalysed():
    with unit_of_work() as session:
        return list(unanalysed_tables(session, large_bytes=8192))


def test_a_table_that_grew_and_was_never_analysed_is_named(database):
    assert unanalysed() == []
    with engine().begin() as connection:
        connection.execute(text("ALTER TABLE refusals SET (autovacuum_enabled = false)"))
        connection.execute(
            text(
                "INSERT INTO refusals (calling_ae, sop_class_uid, sop_instance_uid, reason,"
                " sentence) SELECT 'A', '1', '2', 'X', 'a sentence' FROM generate_series(1, 500)"
            )
        )
    assert unanalysed() == ["refusals"]
    with engine().begin() as connection:
        connection.execute(text("ANALYZE refusals"))
    assert unanalysed() == []

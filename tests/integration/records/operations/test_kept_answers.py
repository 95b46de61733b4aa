"""The transaction of a call with a key: its parts, its end, and the plans of its queries."""

import threading

import pytest
from sqlalchemy import text

from records.database.session import engine, unit_of_work
from records.errors import NotAllowed
from records.operations import kept_answers
from records.operations.kept_answers import Answer, KeyedCall, KeyIsBusy, KeyWasUsed
from tests.support.accounts import run_sql
from tests.support.query_plans import explained, nodes

ANSWER = Answer(201, {"content-type": "application/json"}, "{}")
SITE = text("INSERT INTO sites (code, name) VALUES (:code, :code)")


def open_call(key="key", request="0" * 64, caller="NOBODY"):
    return KeyedCall.open(caller, key, request)


def add_site(code, *, fails=False):
    with unit_of_work() as session:
        session.execute(SITE, {"code": code})
        if fails:
            raise NotAllowed("no")


def codes():
    return {code for (code,) in run_sql("SELECT code FROM sites")} - {"default"}


def test_a_part_that_fails_takes_back_itself_and_nothing_is_seen_before_the_end(database):
    call = open_call()
    with call.within():
        add_site("first")
        with pytest.raises(NotAllowed):
            add_site("second", fails=True)
        add_site("third")
    assert codes() == set(), "others see nothing yet"
    call.finish(ANSWER)
    call.close()
    assert codes() == {"first", "third"}
    assert open_call().kept == ANSWER


def test_a_call_that_is_closed_takes_everything_back(database):
    call = open_call()
    with call.within():
        add_site("first")
    call.close()
    assert codes() == set()
    assert run_sql("SELECT count(*) FROM kept_answers") == [(0,)]
    again = open_call()
    assert again.kept is None
    again.close()


def test_work_outside_the_block_is_of_itself(database):
    call = open_call()
    add_site("outside")
    in_thread = threading.Thread(target=add_site, args=("thread",))
    with call.within():
        in_thread.start()  # a new thread has a context of its own
        in_thread.join()
    call.close()
    assert codes() == {"outside", "thread"}


def test_the_lock_is_of_caller_and_key(database):
    call = open_call()
    with pytest.raises(KeyIsBusy):
        open_call()
    for other in (open_call("another"), open_call(caller="ACCOUNT 1")):
        other.close()
    call.commit()
    call.close()
    open_call().close()


def test_a_refused_call_gives_its_connection_back(database):
    call = open_call()
    call.finish(ANSWER)
    call.close()
    for _ in range(40):  # more than the pool has
        with pytest.raises(KeyWasUsed):
            open_call(request="1" * 64)
    assert engine().pool.checkedout() == 0


MANY = """
INSERT INTO kept_answers (caller, key_sha256, request_sha256, status, headers, body, shown, kept_at)
SELECT 'PROGRAM x', n::text, 'x', 200, '{}', '{}', '{}', now() - make_interval(secs => n)
FROM generate_series(1, 20000) AS n
"""


def walks(run):
    with unit_of_work() as session, explained() as plans:
        run(session)
    return [
        statement
        for statement, plan in plans
        if any(
            node["Node Type"] == "Seq Scan" and node["Relation Name"] == "kept_answers"
            for node in nodes(plan)
        )
    ]


@pytest.fixture
def many(database):
    run_sql(MANY)
    with engine().connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM (ANALYZE) kept_answers"))


def test_finding_and_removing_read_indexes(many):
    def find(_):
        open_call("1").close()

    assert walks(find) == []
    assert walks(lambda session: kept_answers.remove_old(session, 20_000 / 3600)) == []
    assert walks(lambda session: kept_answers.remove_old(session, 5)) == []
    assert run_sql("SELECT count(*) FROM kept_answers") == [(18_999,)]


def test_a_missing_index_is_found(many):
    run_sql("DROP INDEX ix_kept_answers_kept_at")
    assert walks(lambda session: kept_answers.remove_old(session, 5))

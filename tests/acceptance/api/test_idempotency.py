"""Keys of calls across server processes: called at once, and killed between change and answer."""

import signal
from concurrent.futures import ThreadPoolExecutor

import httpx2 as httpx
import pytest
from sqlalchemy import text

from records.database.session import engine
from tests.support.accounts import run_sql
from tests.support.seeded_studies import StudySeeder
from tests.support.waiting import eventually

KEY = {"idempotency-key": '"8e03978e-40d5-43e8-bc93-6894a57f9324"'}
BODY = {"name": "Backlog", "by": "Dr. Roe", "studies": [{"accession_number": "A1"}]}


def create(server):
    return httpx.post(f"{server.url}/api/campaigns", json=BODY, headers=KEY, timeout=60)


def create_until_done(server):
    while (answer := create(server)).status_code == 409:
        assert answer.headers["retry-after"] == "1"
        assert "is being carried out" in answer.json()["title"]
    return answer


def test_many_calls_at_once_on_two_servers_make_one_change(serve):
    servers = [serve(), serve()]
    with ThreadPoolExecutor(12) as callers:
        answers = list(callers.map(create_until_done, servers * 6))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    replayed = [answer.headers.get("idempotent-replayed") for answer in answers]
    assert replayed.count(None) == 1
    assert run_sql("SELECT count(*) FROM campaigns") == [(1,)]


def test_another_server_says_that_the_first_one_is_at_it(serve, data_dir):
    seeder = StudySeeder(data_dir)
    (study,) = seeder.complete(1)
    seeder.fail(study)
    first, second = serve(), serve()

    def retry(server):
        address = f"{server.url}/api/studies/{study}/retry"
        return httpx.post(address, headers=KEY, timeout=60)

    def is_waiting():
        return run_sql("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")[0][0]

    with ThreadPoolExecutor(1) as caller:
        with engine().begin() as connection:
            connection.execute(text("SELECT FROM studies FOR UPDATE"))
            running = caller.submit(retry, first)
            eventually(is_waiting)
            assert retry(second).status_code == 409
        assert running.result().status_code == 200
    again = retry(second)
    assert again.content == running.result().content
    assert again.headers["idempotent-replayed"] == "true"


@pytest.mark.parametrize(
    ("point", "is_done"), [("before-kept-answer-commit", 0), ("after-kept-answer-commit", 1)]
)
def test_a_server_that_is_killed_leaves_both_change_and_answer_or_neither(
    serve, tmp_path, monkeypatch, point, is_done
):
    with monkeypatch.context() as killing:
        killing.setenv("NIGHTDRAFT_KILL_AT", point)
        killing.setenv("NIGHTDRAFT_KILL_MARK", str(tmp_path / "killed"))
        server = serve()
    with pytest.raises(httpx.TransportError):
        create(server)
    assert server.process.wait(timeout=60) == -signal.SIGKILL
    assert run_sql("SELECT count(*) FROM campaigns") == [(is_done,)]
    assert run_sql("SELECT count(*) FROM kept_answers") == [(is_done,)]
    answer = create_until_done(serve())
    assert answer.status_code == 201
    assert ("idempotent-replayed" in answer.headers) is bool(is_done)
    assert run_sql("SELECT count(*) FROM campaigns") == [(1,)]

"""Pages and answers that show one moment, although they are read by several statements."""

import contextlib

import pytest
from sqlalchemy import event

from records.database.session import engine
from tests.support.accounts import run_sql
from tests.support.report_readers import logged_in_people
from tests.support.seeded_studies import StudySeeder


@pytest.fixture
def seeder(database, data_dir):
    return StudySeeder(data_dir)


@pytest.fixture
def study(seeder):
    """A study whose draft is not stored yet."""
    (study,) = seeder.complete(1)
    return study


@pytest.fixture
def people(study):
    with logged_in_people() as clients:
        yield clients


@contextlib.contextmanager
def when_drafts_were_read(act):
    """Do something within the block as soon as the drafts of a study were read, once."""
    waiting = [act]

    def look(connection, cursor, statement, *_):
        if waiting and "FROM drafts" in statement and "drafts.text" in statement:
            waiting.pop()()

    event.listen(engine(), "after_cursor_execute", look)
    try:
        yield
    finally:
        event.remove(engine(), "after_cursor_execute", look)
    assert not waiting, "nothing read the drafts of the study"


def test_a_draft_that_is_stored_meanwhile_is_shown_whole_or_not_at_all(people, study, seeder):
    path = f"/api/studies/{study}"
    with when_drafts_were_read(lambda: seeder.draft(study, 1)):
        answer = people["roe"].get(path).json()
    assert (answer["study"]["state"], answer["drafts"]) == ("WAITING", [])
    again = people["roe"].get(path).json()
    assert again["study"]["state"] == "DRAFTED"
    assert [draft["current"] for draft in again["drafts"]] == [True]


@pytest.mark.parametrize("path", ["/api/studies/{}", "/studies/{}"])
def test_who_reads_first_sees_nothing_of_a_draft_that_is_stored_meanwhile(
    people, study, seeder, setting, path
):
    setting(read_first=True)
    reader = people["roe"]
    with when_drafts_were_read(lambda: seeder.draft(study, 1)):
        meanwhile = reader.get(path.format(study))
    again = reader.get(path.format(study))
    ((findings,),) = run_sql("SELECT findings FROM drafts")
    sentence = findings.partition(".")[0]
    assert sentence
    for answer in (meanwhile, again):
        assert answer.status_code == 200
        assert sentence not in answer.text

"""Styles in PostgreSQL: versions, who owns them, and the texts that begin from them."""

import dataclasses
import threading

import pytest
from sqlalchemy import text

from model.consistency import find_differences
from records.bundles.acceptance import measure
from records.database.draft_tables import Draft
from records.database.review_tables import Review, WorkingText
from records.database.session import unit_of_work
from records.errors import NightdraftError, NotAllowed, NotFound
from records.report_styles import styles
from records.report_styles.content import PLAIN, StyleContent, StyleRefused, Wording
from records.reviews import signing, working_texts
from records.reviews.readers import Reader
from records.reviews.working_texts import StaleText
from records.states import Role, TextState
from records.workflow.site_scope import limited_to
from tests.support.accounts import make_account, run_sql, trail_lines
from tests.support.registered_studies import complete, draft_all, new_instance
from tests.support.two_sites import NORTH_AE, make_north

pytestmark = pytest.mark.usefixtures("database")

HOUSE = StyleContent("House", PLAIN.sections, (Wording("The lungs are clear.", "Lungs clear."),))
OWN = StyleContent("Own", PLAIN.sections, (Wording("The lungs are clear.", "Clear lungs."),))
ROE = Reader("Dr. Roe")


def save(content, made_from=0, *, code="default", account=None):
    with unit_of_work() as session:
        owner = (
            styles.of_reader(account.id, account.login)
            if account
            else styles.of_site(session, code)
        )
        return styles.save(session, owner, content, made_from, "Dr. Lead", find_differences)


def end(made_from, *, code="default"):
    with unit_of_work() as session:
        styles.end(session, styles.of_site(session, code), made_from, "Dr. Lead")


def in_force(site_id, account_id=None):
    with unit_of_work() as session:
        found = styles.find_in_force(session, site_id, account_id)
        return found and (found.name, found.version)


def read(draft_id, account_id=None):
    with unit_of_work() as session:
        return working_texts.read(session, session.get_one(Draft, draft_id), account_id)


def write(draft_id, seen, findings, reader=ROE):
    with unit_of_work() as session:
        return working_texts.save(
            session, draft_id, seen.version, findings, seen.impression, reader, seen.style_id
        )


def sign(draft_id, seen, reader=ROE):
    with unit_of_work() as session:
        review = signing.sign_text(session, draft_id, seen.version, seen.sha256, reader)
        return session.get_one(Review, review)


@pytest.fixture
def default_site():
    ((site_id,),) = run_sql("SELECT id FROM sites WHERE code = 'default'")
    return site_id


@pytest.fixture
def draft_id():
    complete(new_instance(sop="1.2.3.1.1"))
    return draft_all()[0]


def test_a_change_is_a_new_version_and_none_is_rewritten(default_site):
    first = save(HOUSE)
    assert (first.version, first.saved_by) == (1, "Dr. Lead")
    assert save(HOUSE, 1).id == first.id, "nothing was changed"
    second = save(dataclasses.replace(HOUSE, name="Home"), 1)
    assert (second.version, in_force(default_site)) == (2, ("Home", 2))
    for change in ("UPDATE report_styles SET name = 'x'", "DELETE FROM report_styles"):
        with pytest.raises(NightdraftError, match="refused"), unit_of_work() as session:
            session.execute(text(change))
    end(2)
    assert in_force(default_site) is None
    with pytest.raises(NotFound):
        end(3)
    assert save(HOUSE, 3).version == 4
    details = [line[5] for line in trail_lines() if "report style" in line[5]]
    assert details[0] == "report style of site default: version 1, by Dr. Lead"
    assert "report style of site default: ended, by Dr. Lead" in details


def test_who_changes_an_older_version_is_told_and_changes_nothing():
    save(HOUSE)
    with pytest.raises(NotAllowed, match=r"changed meanwhile, by Dr\. Lead"):
        save(OWN, 0)
    with pytest.raises(NotAllowed, match="changed meanwhile"):
        end(0)
    assert run_sql("SELECT name FROM report_styles") == [("House",)]


def test_of_two_who_save_at_once_one_is_told():
    barrier, outcomes = threading.Barrier(2), []

    def change(content):
        barrier.wait()
        try:
            outcomes.append(save(content).name)
        except NotAllowed as error:
            outcomes.append(str(error))

    threads = [threading.Thread(target=change, args=(one,)) for one in (HOUSE, OWN)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted("meanwhile" in one for one in outcomes) == [False, True]
    assert run_sql("SELECT count(*) FROM report_styles") == [(1,)]


@pytest.mark.parametrize(
    ("written", "house", "named"),
    [
        ("No pleural effusion.", "Pleural effusion.", "Pleural Effusion: denied"),
        ("Left pleural effusion.", "Right pleural effusion.", "The side: left"),
        ("Heart normal.", "No pneumothorax.", "Pneumothorax: not mentioned"),
    ],
)
def test_a_wording_that_changes_the_meaning_is_refused_and_both_are_named(written, house, named):
    changing = dataclasses.replace(HOUSE, wordings=(*HOUSE.wordings, Wording(written, house)))
    with pytest.raises(StyleRefused) as refused:
        save(changing)
    assert any(
        written in fault and house in fault and named in fault for fault in refused.value.faults
    )
    assert run_sql("SELECT count(*) FROM report_styles") == [(0,)]


def test_nobody_and_other_sites_change_nothing():
    site = make_north()
    with limited_to([site]):
        with pytest.raises(NotFound):
            save(HOUSE, code="default")
        assert save(HOUSE, code="north").site_id == site
        with unit_of_work() as session:
            assert [found.code for found, _ in styles.list_of_sites(session)] == ["north"]
    with unit_of_work() as session:
        owner = styles.of_site(session, "north")
        with pytest.raises(NotAllowed, match="by whom"):
            styles.save(session, owner, OWN, 1, " ", find_differences)


def test_the_own_style_comes_before_that_of_the_site(default_site):
    ada = make_account("ada", Role.READER, sites=["default"])
    bob = make_account("bob", Role.READER, sites=["default"])
    assert in_force(default_site, ada.id) is None
    save(HOUSE)
    save(OWN, account=ada)
    assert in_force(default_site, ada.id) == ("Own", 1)
    assert in_force(default_site, bob.id) == ("House", 1)
    assert in_force(default_site) == ("House", 1)
    with unit_of_work() as session:
        styles.end(session, styles.of_reader(ada.id, "ada"), 1, "Ada")
    assert in_force(default_site, ada.id) == ("House", 1)


def test_each_site_has_its_own():
    make_north()
    complete(new_instance("1.2.4", "1.2.4.1", calling_ae=NORTH_AE))
    complete(new_instance("1.2.5", "1.2.5.1"))
    north, other = draft_all()
    save(HOUSE, code="north")
    by_site = {read(draft).findings for draft in (north, other)}
    assert by_site == {"Lungs clear.", "the lungs are clear."}


def test_a_text_begins_in_the_style_and_the_draft_stays(draft_id):
    plain = read(draft_id)
    assert plain.findings == "the lungs are clear."
    style = save(HOUSE)
    begun = read(draft_id)
    assert (begun.findings, begun.version, begun.style_id) == ("Lungs clear.", 0, style.id)
    assert begun.etag != plain.etag
    assert begun.sha256 != plain.sha256
    with unit_of_work() as session:
        assert session.get_one(Draft, draft_id).findings == "the lungs are clear."
    assert write(draft_id, begun, begun.findings).version == 0, "nothing was written"
    written = write(draft_id, begun, "Lungs clear. Heart large.")
    assert (written.version, written.style_id) == (1, style.id)


def test_a_text_and_a_report_keep_the_version_from_which_they_began(draft_id):
    first = save(HOUSE)
    begun = read(draft_id)
    save(dataclasses.replace(HOUSE, name="Home", wordings=()), 1)
    with pytest.raises(StaleText):  # what was shown would look otherwise now
        sign(draft_id, begun)
    written = write(draft_id, begun, "Lungs clear. Heart large.")
    assert written.style_id == first.id, "it was written from what the reader saw"
    signed = sign(draft_id, written)
    assert signed.style_id == first.id
    # "Lungs clear." is the house's; the reader added " Heart large."
    assert signed.distances == {"findings": [13, 25], "impression": [0, 7]}


def test_a_text_cannot_begin_in_the_style_of_somebody_else(draft_id):
    ada = make_account("ada", Role.READER, sites=["default"])
    of_ada = save(OWN, account=ada)
    seen = dataclasses.replace(read(draft_id), style_id=of_ada.id)
    with pytest.raises(StaleText):
        write(draft_id, seen, "x", ROE)
    assert write(draft_id, seen, "x", Reader("Ada", ada.id)).style_id == of_ada.id
    with unit_of_work() as session:
        assert session.get_one(WorkingText, draft_id).style_id == of_ada.id


@pytest.mark.parametrize(
    ("signed_text", "distance"),
    [("Lungs clear.", 0), ("the lungs are clear.", 0), ("Lungs clear!", 1)],
)
def test_the_houses_words_are_no_edit_and_neither_are_the_models(
    draft_id, default_site, signed_text, distance
):
    save(HOUSE)
    begun = read(draft_id)
    seen = write(draft_id, begun, signed_text)
    signed = sign(draft_id, seen)
    assert signed.findings == signed_text
    assert signed.distances["findings"][0] == distance
    with unit_of_work() as session:
        assert measure(session, default_site, "bundle").unchanged == (distance == 0)


def test_the_draft_in_a_style_can_be_signed_as_it_is(draft_id):
    style = save(HOUSE)
    signed = sign(draft_id, read(draft_id))
    assert (signed.findings, signed.style_id, signed.text_version) == ("Lungs clear.", style.id, 0)
    assert signed.distances["findings"][0] == 0


def test_who_begins_again_begins_in_the_style_of_now(draft_id):
    written = write(draft_id, read(draft_id), "something else")
    style = save(HOUSE)
    with unit_of_work() as session:
        again = working_texts.discard(session, draft_id, written.version, ROE)
    assert (again.findings, again.style_id, again.version) == ("Lungs clear.", style.id, 2)


def test_what_is_sent_on_unchanged_is_sent_in_the_style_that_was_seen(draft_id):
    style = save(HOUSE)
    seen = read(draft_id)
    trainee = Reader("A. Trainee", may_sign=False)
    with unit_of_work() as session:
        sent = working_texts.send_on(
            session, draft_id, 0, TextState.SUBMITTED, trainee, style_id=seen.style_id
        )
    assert (sent.findings, sent.style_id, sent.version) == ("Lungs clear.", style.id, 1)

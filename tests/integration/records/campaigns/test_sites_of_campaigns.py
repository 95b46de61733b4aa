"""Campaigns of a site: who sees and changes them, and which studies they take up."""

from dataclasses import replace

import pytest
from sqlalchemy import select

from records.campaigns import campaigns, progress, pulling, retrying, rows, walking
from records.campaigns.adding import NewStudy
from records.campaigns.campaigns import NewCampaign
from records.database.draft_tables import DraftRequest
from records.database.session import unit_of_work
from records.database.site_tables import DEFAULT_SITE_ID
from records.database.tables import Study
from records.errors import LostLease, NotAllowed, NotFound
from records.states import CampaignKind, CampaignReason, CampaignStudyState, SiteBasis
from records.workflow import site_scope
from tests.support.accounts import run_sql
from tests.support.campaigns import ALWAYS, create, ends, of_uids, tend_all
from tests.support.registered_studies import complete, draft_all, new_instance, register
from tests.support.two_sites import NORTH_AE, make_north, make_site, site_of

IN_WORK = CampaignStudyState.IN_WORK
NOT_HERE = (CampaignStudyState.MISSING, CampaignReason.NOT_HERE)


@pytest.fixture
def north(database, data_dir):
    return make_north()


@pytest.fixture
def south(north):
    return make_site("south", ["SOUTH_CR"])


def new(name="x", site_code=""):
    return NewCampaign(name, CampaignKind.LIST, ALWAYS, "test", site_code=site_code)


def make(limited_to, **how):
    with unit_of_work() as session, site_scope.limited_to(limited_to):
        campaign_id = campaigns.create(session, new(**how))
        return session.get(campaigns.Campaign, campaign_id).site_id


def test_a_campaign_is_of_a_site_that_its_creator_sees(north, south):
    assert make(None) is None
    assert make(None, name="a", site_code="north") == north
    assert make([north], name="b") == north
    assert make([north, south], name="c", site_code="south") == south
    with pytest.raises(NotAllowed, match="name it"):
        make([north, south], name="d")
    with pytest.raises(NotFound, match="you see no site"):
        make([north], name="d", site_code="south")
    with pytest.raises(NotFound):
        make(None, name="d", site_code="west")


def test_people_of_a_site_fetch_only_from_places_that_are_for_it(north, south, setting, tmp_path):
    """A shared PACS or a folder may have films of another site, which would be taken for theirs."""
    file = tmp_path / "pacs.toml"
    table = '[{}]\nhost = "pacs.example.org"\nae_title = "ARCHIVE"\n'
    file.write_text(table.format("shared") + table.format("ours") + 'sites = ["north"]\n')
    setting(pacs_file=file)
    places = [
        {"pacs": "shared"},
        {"pacs": "ours"},
        {"kind": CampaignKind.FOLDER, "source": {"folder": "/films"}},
    ]

    def refusals(limited_to, code):
        for number, place in enumerate(places):
            with unit_of_work() as session, site_scope.limited_to(limited_to):
                wanted = replace(new(f"{limited_to}{code}{number}", code), **place)
                try:
                    campaigns.create(session, wanted)
                except NotAllowed as error:
                    yield str(error)
                else:
                    yield ""

    assert list(refusals(None, "south")) == ["", "", ""]
    shared, ours, folder = refusals([north], "")
    assert "the site north may not fetch from the PACS shared: let an administrator" in shared
    assert ours == ""
    assert "films of other sites than north" in folder
    shared, ours, _ = refusals([north, south], "south")
    assert "the site south may not fetch from the PACS shared" in shared
    assert "the site south may not fetch from the PACS ours" in ours


def test_while_there_is_one_site_its_people_fetch_from_everywhere(database, setting, tmp_path):
    file = tmp_path / "pacs.toml"
    file.write_text('[archive]\nhost = "pacs.example.org"\nae_title = "ARCHIVE"\n')
    setting(pacs_file=file)
    with unit_of_work() as session, site_scope.limited_to([DEFAULT_SITE_ID]):
        assert campaigns.create(session, replace(new("x"), pacs="archive"))


def test_nobody_sees_or_changes_a_campaign_of_another_site(north, south):
    own, other, every = (
        create(name=name, site_code=code)
        for name, code in (("own", "north"), ("other", "south"), ("every", ""))
    )
    with unit_of_work() as session, site_scope.limited_to([north]):
        page = progress.read_page(session, 50)
        assert [(one.campaign.id, one.site_code) for one in page.campaigns] == [(own, "north")]
        for hidden, name in ((other, "other"), (every, "every")):
            for ask in (
                lambda hidden=hidden: campaigns.get(session, hidden),
                lambda name=name: campaigns.find(session, name),
                lambda hidden=hidden: campaigns.find(session, str(hidden)),
                lambda hidden=hidden: campaigns.pause(session, hidden),
                lambda hidden=hidden: campaigns.cancel(session, hidden),
                lambda hidden=hidden: retrying.retry(
                    session, hidden, CampaignStudyState.MISSING, "NOT_HERE"
                ),
            ):
                with pytest.raises(NotFound):
                    ask()
        campaigns.pause(session, own)
    with unit_of_work() as session:
        assert len(progress.read_page(session, 50).campaigns) == 3


def test_a_list_takes_up_the_studies_of_its_site_alone(south):
    complete(
        new_instance("1.1", accession_number="A1", calling_ae=NORTH_AE),
        new_instance("1.2", accession_number="A2", calling_ae="SOUTH_CR"),
        new_instance("1.3", accession_number="A3"),
        new_instance("1.4", accession_number="A4", calling_ae="SOUTH_CR"),
    )
    listed = [*of_uids("1.1", "1.2", "1.3"), NewStudy(accession_number="A4")]
    campaign = create(studies=listed, site_code="north")
    every = create(name="every", studies=listed)
    tend_all()
    assert ends(campaign) == {
        "1.1": (IN_WORK, ""),
        "1.2": NOT_HERE,
        "1.3": NOT_HERE,
        "A4": NOT_HERE,
    }
    assert {end for end, _ in ends(every).values()} == {IN_WORK}
    # It did not tell of what it did not take.
    assert run_sql(
        "SELECT count(*) FROM campaign_studies WHERE campaign_id = :id AND study_id IS NOT NULL",
        id=campaign,
    ) == [(1,)]


def test_drafts_are_made_again_of_the_studies_of_its_site_alone(north):
    mine, _ = complete(new_instance("1.1", calling_ae=NORTH_AE), new_instance("1.2"))
    draft_all()
    campaign = create(
        CampaignKind.AGAIN, source={"from_bundle": "bundle"}, bundle="newer", site_code="north"
    )
    tend_all()
    assert set(ends(campaign)) == {"1.1"}
    with unit_of_work() as session:
        waiting = session.scalars(select(DraftRequest).where(DraftRequest.bundle == "newer")).all()
    assert [request.study_id for request in waiting] == [mine]


def pull(uid, *arriving):
    """Fetch a study for the campaign that waits for it: what arrives, and the end of its row."""
    with unit_of_work() as session:
        claimed = pulling.claim(session, "archive", 10, [CampaignKind.LIST])
        assert claimed.study_instance_uid == uid
    done = register(*arriving)
    with unit_of_work() as session:
        pulling.finish(session, claimed, listed=len(arriving))
    return done[0].study_id if done else None


def test_what_a_campaign_fetches_is_of_its_site_where_no_caller_says_otherwise(south):
    campaign = create(studies=of_uids("1.1", "1.2"), site_code="north", pacs="archive")
    run_sql("UPDATE campaigns SET is_open = true")
    fetched = pull("1.1", new_instance("1.1", calling_ae="ARCHIVE"))
    assert site_of("studies", fetched) == "north"
    with unit_of_work() as session:
        assert session.get_one(Study, fetched).site_basis == SiteBasis.CAMPAIGN
    other = pull("1.2", new_instance("1.2", calling_ae="SOUTH_CR"))
    assert site_of("studies", other) == "south"
    assert ends(campaign) == {"1.1": (IN_WORK, ""), "1.2": NOT_HERE}
    # What comes by itself does not belong to a campaign that has named it and does not fetch it.
    create(name="named", studies=of_uids("1.3"), site_code="north", pacs="archive")
    (done,) = register(new_instance("1.3", calling_ae="CR1"))
    assert site_of("studies", done.study_id) == "default"


def test_a_campaign_does_not_take_over_what_is_here(north):
    (study_id,) = complete(new_instance("1.1", calling_ae="CR1"))
    campaign = create(studies=of_uids("1.1"), site_code="north", pacs="archive")
    run_sql("UPDATE campaigns SET is_open = true")
    pull("1.1")
    assert ends(campaign) == {"1.1": NOT_HERE}
    assert site_of("studies", study_id) == "default"


def test_a_study_that_left_the_site_is_left_out(north, south):
    complete(new_instance("1.1", calling_ae=NORTH_AE))
    campaign = create(studies=of_uids("1.1", "9.9"), site_code="north")
    tend_all()
    run_sql("UPDATE studies SET site_id = :south", south=south)
    with unit_of_work() as session, site_scope.limited_to([north]):
        listed = rows.list_studies(session, campaign, 10)
        assert [row.study_instance_uid for row in listed] == ["9.9"]
    with unit_of_work() as session, site_scope.limited_to([north, south]):
        assert len(rows.list_studies(session, campaign, 10)) == 2


def test_a_campaign_waits_while_its_site_may_not_fetch_from_its_pacs(south, setting, tmp_path):
    file = tmp_path / "pacs.toml"
    setting(pacs_file=file)

    def name_sites(*codes):
        """Name the sites of the PACS; returns how many campaigns that changed."""
        listed = ", ".join(f'"{code}"' for code in codes)
        table = '[archive]\nhost = "pacs.example.org"\nae_title = "ARCHIVE"\n'
        file.write_text(f"{table}sites = [{listed}]\n")
        with unit_of_work() as session:
            return campaigns.settle_rights(session, "archive")

    def claim():
        with unit_of_work() as session:
            claimed = pulling.claim(session, "archive", 10, [CampaignKind.LIST])
            return claimed and claimed.study_instance_uid

    def sentence():
        with unit_of_work() as session:
            return progress.read_progress(session, [campaigns.get(session, mine)])[0].sentence

    name_sites("north", "south")
    site = run_sql("SELECT id FROM sites WHERE code = 'north'")[0]
    with site_scope.limited_to(site):
        mine = create(name="mine", studies=of_uids("1.1", "1.2", "1.3"), pacs="archive")
    create(name="theirs", studies=of_uids("2.1", "2.2"), site_code="north", pacs="archive")
    run_sql("UPDATE campaigns SET is_open = true")
    assert (claim(), name_sites("north"), name_sites()) == ("1.1", 0, 1)
    # It says so once, and neither an answer of the PACS nor its absence changes that.
    for reason in ("The PACS does not answer.", ""):
        with unit_of_work() as session:
            campaigns.stall(session, "archive", reason)
        assert name_sites("south") == 0
        assert sentence().startswith("It waits: The site north may not fetch from the PACS archive")
    # What somebody created who sees every site goes on.
    assert [claim(), claim(), claim()] == ["2.1", "2.2", None]
    with unit_of_work() as session:
        assert not campaigns.need_source(session, "nowhere", now=False)
        campaigns.pause(session, mine)
        campaigns.resume(session, mine)
    run_sql("UPDATE campaigns SET is_open = true")
    assert claim() is None
    assert name_sites("north") == 1
    assert sentence() == "Its window is open, and no study has come to an end yet."
    assert claim() == "1.2"
    assert name_sites() == 1
    with unit_of_work() as session:
        campaigns.cancel(session, mine)
    assert sentence() == "It was cancelled: what still waits is not drafted."


def test_the_source_of_a_campaign_that_lost_its_right_is_not_walked(south, setting, tmp_path):
    file = tmp_path / "pacs.toml"
    setting(pacs_file=file)
    table = '[archive]\nhost = "pacs.example.org"\nae_title = "ARCHIVE"\n'
    file.write_text(f'{table}sites = ["south"]\n')
    with site_scope.limited_to([south]):
        create(CampaignKind.QUERY, pacs="archive")

    def claim_walk():
        with unit_of_work() as session:
            return walking.claim_walk(session, [CampaignKind.QUERY], "archive", 900.0)

    walk = claim_walk()
    file.write_text(table)
    with unit_of_work() as session:
        assert campaigns.settle_rights(session, "archive") == 1
        assert not campaigns.need_source(session, "archive", now=True)
    with unit_of_work() as session, pytest.raises(LostLease):
        walking.save_walk(session, walk, None)
    run_sql("UPDATE campaigns SET walk_claimed_at = NULL")
    assert claim_walk() is None
    file.write_text(f'{table}sites = ["south"]\n')
    with unit_of_work() as session:
        campaigns.settle_rights(session, "archive")
    assert claim_walk() is not None

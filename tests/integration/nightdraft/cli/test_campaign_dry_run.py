"""`nightdraft campaign create --dry-run` says what a campaign would do, and creates nothing."""

import json

import pytest
from pydicom import dcmwrite
from sqlalchemy import func, select
from typer.testing import CliRunner

from nightdraft import campaign_dry_run
from nightdraft.cli.main import app
from records.database.campaign_tables import Campaign, CampaignStudy
from records.database.session import unit_of_work
from records.errors import NotAllowed
from records.states import Stage
from tests.support.campaigns import create, ends, tend_all
from tests.support.registered_studies import claim, complete, draft_all, new_instance, prepare, save
from tests.support.stored_studies import phantom_images

OLD = "0123456789abcdef" * 4
NEW = "fedcba9876543210" * 4

pytestmark = pytest.mark.usefixtures("database", "data_dir")


def run(*arguments):
    return CliRunner().invoke(
        app,
        ["campaign", "create", "try", *map(str, arguments), "--dry-run"],
        catch_exceptions=False,
    )


def found(*arguments):
    return json.loads(run(*arguments, "--json").stdout)


@pytest.fixture(autouse=True)
def nothing_is_written(database):
    yield
    with unit_of_work() as session:
        names = session.scalars(select(Campaign.name)).all()
        assert "try" not in names
        of_others = select(func.count()).select_from(CampaignStudy)
        assert names or session.scalar(of_others) == 0


def listed(tmp_path, *uids):
    file = tmp_path / "list.csv"
    file.write_text("study_instance_uid\n" + "".join(f"{uid}\n" for uid in uids))
    return file


def test_a_list_counts_what_would_be_skipped_as_the_campaign_would(tmp_path, monkeypatch):
    monkeypatch.setattr(campaign_dry_run, "AT_ONCE", 2)
    complete(new_instance("1.1", content="12345"), new_instance("1.2"))
    draft_all()
    complete(new_instance("1.3", content="1234567"))
    file = listed(tmp_path, "1.1", "1.2", "1.3", "1.4", "1.5")
    said = found("--studies", file)
    assert (said["studies"], said["to_draft"], said["bytes"]) == (5, 1, 7)
    assert said["not_drafted"] == {"ALREADY_DRAFTED": 2, "NOT_HERE": 2}
    assert said["bytes_needed"] == 0
    assert said["bytes_free"] > 0
    assert said["drafts_per_minute"] == 2.0
    assert (said["nights"], bool(said["done_at"])) == (1, True)
    text = run("--studies", file).stdout
    assert "not drafted: 2. The study has a draft already." in text
    with unit_of_work() as session:
        assert session.scalar(select(func.count()).select_from(Campaign)) == 0
    file_campaign = CliRunner().invoke(
        app, ["campaign", "create", "real", "--studies", str(file), "--json"]
    )
    tend_all()
    states = list(ends(json.loads(file_campaign.stdout)["id"]).values())
    assert states.count(("SKIPPED", "ALREADY_DRAFTED")) == 2
    assert states.count(("MISSING", "NOT_HERE")) == 2


def test_what_a_bundle_drafted_is_counted(monkeypatch):
    monkeypatch.setattr(campaign_dry_run, "AT_ONCE", 2)
    complete(*(new_instance(f"1.{n}") for n in range(5)))
    for lease in claim(Stage.PREPARE):
        prepare(lease)
    for lease in claim(Stage.DRAFT):
        save(lease, bundle_digest=OLD)
    said = found("--again", OLD, "--by-bundle", NEW)
    assert (said["studies"], said["to_draft"], said["not_drafted"]) == (5, 5, {})
    assert found("--again", NEW, "--by-bundle", OLD)["studies"] == 0


def test_a_pace_of_nothing_and_a_window_that_never_opens_are_said(tmp_path):
    complete(new_instance("1.1"))
    said = found("--studies", listed(tmp_path, "1.1"), "--ends-on", "2020-01-01")
    assert said["opens_at"] is None
    assert said["notes"] == [
        "Its window never opens.",
        "Nothing was drafted lately, so no number of nights can be said.",
    ]


def test_a_list_with_wrong_lines_and_a_name_that_is_taken_are_refused(tmp_path):
    create(name="try2")
    with pytest.raises(NotAllowed, match="line 2"):
        run("--studies", listed(tmp_path, "1..2"))
    with pytest.raises(NotAllowed, match="there is a campaign 'try2' already"):
        CliRunner().invoke(
            app,
            [
                *("campaign", "create", "try2", "--dry-run"),
                *("--studies", str(listed(tmp_path, "1.1"))),
            ],
            catch_exceptions=False,
        )


def test_a_pacs_is_not_asked(tmp_path, setting):
    file = tmp_path / "pacs.toml"
    file.write_text('[archive]\nhost = "pacs.example.org"\nae_title = "ARCHIVE"\n')
    setting(pacs_file=str(file))
    query = found("--pacs", "archive", "--from-day", "2026-01-01", "--to-day", "2026-01-02")
    assert (query["studies"], query["bytes_needed"]) == (None, None)
    assert "The PACS is not asked" in query["notes"][0]
    said = found("--pacs", "archive", "--studies", listed(tmp_path, "1.1", "1.2"))
    assert (said["studies"], said["to_draft"], said["bytes_needed"]) == (2, 2, None)


def test_a_folder_is_walked_by_its_headers(tmp_path, setting):
    folder = tmp_path / "films"
    folder.mkdir()
    images = [image for number in range(2) for image in phantom_images(number)]
    for number, image in enumerate(images):
        dcmwrite(folder / f"{number}.dcm", image, enforce_file_format=True)
    (folder / "notes.txt").write_text("nothing")
    setting(campaign_folders=str(folder))
    said = found("--folder", folder)
    assert said["bytes_needed"] == sum(file.stat().st_size for file in folder.glob("*.dcm"))
    assert said["studies"] == len({image.StudyInstanceUID for image in images})
    assert "1 other files were left out" in said["notes"][0]

"""`nightdraft campaign create --dry-run` says what a campaign would do, and creates nothing."""

import io
import json
from collections import Counter

import pytest
from pydicom import Dataset, dcmwrite
from rich.console import Console
from sqlalchemy import func, select
from typer.testing import CliRunner

from intake.archive import finder
from intake.archive.budget import Places
from intake.archive.errors import PacsAway
from nightdraft.cli.campaign_views import render_dry_run
from nightdraft.cli.main import app
from records.database.campaign_tables import Campaign, CampaignStudy
from records.database.session import unit_of_work
from records.database.tables import Instance, Study
from records.errors import NotAllowed
from records.operations import campaign_outlook
from records.operations.campaign_outlook import DryRun
from records.states import Stage
from tests.support.campaigns import create, ends, tend_all
from tests.support.outside_reports import receive
from tests.support.pacs import (
    DICOMWEB,
    ORTHANC,
    OddPacs,
    describe,
    keep_pynetdicom,
    make_study,
    running_orthanc,
)
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
    monkeypatch.setattr(campaign_outlook, "AT_ONCE", 2)
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
    monkeypatch.setattr(campaign_outlook, "AT_ONCE", 2)
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


def test_what_a_list_names_twice_is_counted_once(tmp_path, monkeypatch):
    monkeypatch.setattr(campaign_outlook, "AT_ONCE", 2)
    complete(
        new_instance("1.1", accession_number="A1", content="12345"),
        new_instance("1.2", accession_number="A2", content="123"),
    )
    file = tmp_path / "list.csv"
    file.write_text(
        "study_instance_uid,accession_number\n1.1,\n1.2,\n,A1\n1.1,\n1.9,\n,a9\n1.9,\n, A9 \n"
    )
    said = found("--studies", file)
    assert (said["studies"], said["to_draft"], said["named_again"]) == (4, 2, 4)
    assert (said["not_drafted"], said["bytes"]) == ({"NOT_HERE": 2}, 8)
    assert "4, and 4 lines name one again" in run("--studies", file).stdout


def name_pacs(tmp_path, setting, pacs):
    """A file of PACSs with this one."""
    given = pacs.model_dump(exclude={"name"}, exclude_defaults=True)
    file = tmp_path / "pacs.toml"
    file.write_text("[archive]\n" + "".join(f"{k} = {json.dumps(v)}\n" for k, v in given.items()))
    setting(pacs_file=str(file))


def ask(*options):
    return found(
        *("--pacs", "archive", "--from-day", "2026-01-01", "--to-day", "2026-01-31"), *options
    )


@pytest.fixture(params=["c-find", "qido-rs"])
def orthanc(request, tmp_path, setting, monkeypatch):
    """An Orthanc with seven studies of January: of CR, of DX, and one of both."""
    if not (ORTHANC and (DICOMWEB or request.param == "c-find")):
        pytest.skip("needs Orthanc with its plugin (apt install orthanc-dicomweb)")
    keep_pynetdicom(monkeypatch)
    with running_orthanc(tmp_path / "pacs") as program:
        for number in range(1, 8):
            films = make_study(
                number,
                StudyDate=f"202601{1 + number // 4:02d}",
                Modality="CR" if number < 3 else "DX",
            )
            if number == 7:
                films[0].Modality, films[0].SeriesInstanceUID = "CR", "1.2.826.77.7.2"
            program.store(films)
        program.store(make_study(8, StudyDate="20251231"))
        is_web = request.param == "qido-rs"
        web = {"retrieve": "wado-rs", "url": program.web} if is_web else {}
        name_pacs(tmp_path, setting, describe(program.port, **web))
        yield program


@pytest.mark.slow
def test_a_pacs_is_asked_and_held_against_what_is_here(orthanc):
    complete(new_instance("1.2.826.77.1", content="12345"), new_instance("1.2.826.77.90"))
    draft_all()
    complete(new_instance("1.2.826.77.2", content="1234567"))
    receive(accession_numbers=("A3",), text="Clear.")
    said = ask()
    assert (said["studies"], said["to_draft"]) == (7, 6)
    assert said["not_drafted"] == {"ALREADY_DRAFTED": 1}
    assert said["by_modality"] == {"DX": 5, "CR": 3}
    assert said["by_day"] == {"2026-01-01": 3, "2026-01-02": 4}
    assert said["maybe_cut"] == []
    # Three objects in each of five studies, of which a kept image has four bytes or so.
    mean = (5 + 7 + kept_size("1.2.826.77.90")) / 3
    assert said["bytes_needed"] == round(15 * mean)
    assert said["bytes"] == 7 + said["bytes_needed"]
    notes = " ".join(said["notes"])
    assert "1 study is not here, and a final report names it" in notes
    assert "The bytes are an estimate: 15 images" in notes
    assert said["fetched_per_minute"] == 100_000
    text = run("--pacs", "archive", "--from-day", "2026-01-01", "--to-day", "2026-01-31").stdout
    assert "2026-01-01 3, 2026-01-02 4" in text
    assert ask("--modalities", "MG")["studies"] == 0
    assert ask("--draft-reported")["notes"] != said["notes"]
    with unit_of_work() as session:
        assert session.scalar(select(func.count()).select_from(Study)) == 3


def kept_size(uid):
    with unit_of_work() as session:
        return session.scalar(
            select(func.sum(Instance.size)).join(Study).where(Study.study_instance_uid == uid)
        )


@pytest.fixture
def odd(tmp_path, setting, monkeypatch):
    """A PACS with thirty studies of one minute, which ends its answers after twenty."""
    keep_pynetdicom(monkeypatch)
    images = [
        make_study(n, films=1, StudyDate="20260105", StudyTime="081530")[0] for n in range(30)
    ]
    with OddPacs(images, cut_at=20) as program:
        name_pacs(tmp_path, setting, describe(program.port))
        yield program


def test_where_a_pacs_cuts_its_answers_is_said_with_day_and_time(odd):
    said = ask("--modalities", "DX")
    assert said["studies"] == 20
    assert said["maybe_cut"] == ["2026-01-05 08:15:30 to 08:15:30 (DX)"]
    assert "The PACS may have cut its answers" in said["notes"][0]
    assert said["bytes_needed"] is None
    assert "no image is kept here" in " ".join(said["notes"])


def test_a_pacs_that_ignores_the_dates_has_only_those_of_the_dates_counted(odd):
    odd.cut_at = 0
    odd.added = [study_answer("1.2.826.77.500", "20200101"), study_answer("1.2.826.77.501", "")]
    odd.lacks = {"NumberOfStudyRelatedInstances"}
    said = ask()
    assert said["studies"] == 31
    assert said["by_day"] == {"2026-01-05": 30, "": 1}


def study_answer(uid, date):
    answer = Dataset()
    answer.QueryRetrieveLevel, answer.StudyInstanceUID, answer.StudyDate = "STUDY", uid, date
    return answer


def test_a_pacs_has_half_of_its_time_for_others(odd, monkeypatch):
    rests = []

    class Watched(Places):
        def is_wanted(self, seconds):
            rests.append(seconds)
            return super().is_wanted(seconds)

    monkeypatch.setattr(finder, "Places", Watched)
    ask()
    asked = [level for level, _ in odd.asked if level == "STUDY"]
    assert len(rests) == len(asked) > 4
    assert all(0 < seconds <= finder.LONGEST_REST_SECONDS for seconds in rests)


def test_a_pacs_that_is_away_is_said_and_nothing_is_left(odd):
    odd.stop()
    with pytest.raises(PacsAway, match="the PACS archive"):
        ask()


def test_a_list_whose_images_are_at_a_pacs_is_counted_without_asking(tmp_path, setting):
    name_pacs(tmp_path, setting, describe(1))
    said = found("--pacs", "archive", "--studies", listed(tmp_path, "1.1", "1.2", "1.1"))
    assert (said["studies"], said["to_draft"], said["bytes_needed"]) == (2, 2, None)
    assert said["named_again"] == 1
    assert "The PACS is not asked" in said["notes"][0]


def test_days_become_months_where_there_are_many():
    many = DryRun(
        by_day=Counter({f"2026-{m:02d}-{d:02d}": 2 for m in (1, 2) for d in range(1, 20)})
    )
    table = io.StringIO()
    Console(file=table, width=200).print(render_dry_run(many))
    assert "2026-01 38, 2026-02 38" in table.getvalue()


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

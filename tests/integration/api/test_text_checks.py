"""A text is held against what the records know of its study and its draft."""

import pytest

from api.reviews.text_checks import check_text
from records.database.draft_tables import Draft
from records.database.session import unit_of_work
from tests.support.accounts import run_sql
from tests.support.seeded_studies import StudySeeder


@pytest.fixture
def study(database, data_dir):
    study = StudySeeder(data_dir).draft_study(1)
    run_sql(
        "UPDATE studies SET patient_sex = 'M', patient_birth_date = '19800101',"
        " study_date = '20260101'"
    )
    return study


def checks_of(study, findings, impression="", **drafted):
    """(section, kind, sentence) of each line."""
    values = {"findings": "", "impression": "", "indication": "", "indication_source": "none"}
    draft = Draft(study_id=study, **(values | {"views": [], "prior_report": None} | drafted))
    with unit_of_work() as session:
        lines = check_text(session, draft, findings, impression)
    return {(line.section, line.kind, line.sentence) for line in lines}


def test_sex_and_age_are_those_of_the_study(study):
    sentence = "She is 30 years old."
    assert checks_of(study, sentence) == {
        ("findings", "SEX", sentence),
        ("findings", "AGE", sentence),
    }
    assert checks_of(study, "He is 45 years old.") == set()
    run_sql("UPDATE studies SET patient_sex = '', patient_birth_date = '1980'")
    assert checks_of(study, sentence) == set()
    run_sql("UPDATE studies SET patient_birth_date = '20270101'")
    assert checks_of(study, sentence) == set()


def test_the_indication_is_the_one_that_the_model_was_given(study):
    asked = {"indication": "r/o pneumothorax", "indication_source": "order"}
    assert checks_of(study, "The lungs are clear.", **asked) == {("", "SILENT", "")}
    assert checks_of(study, "No pneumothorax.", **asked) == set()
    asked["indication_source"] = "none"
    assert checks_of(study, "The lungs are clear.", **asked) == set()


def test_a_prior_report_or_an_earlier_study_is_something_to_compare_with(study, data_dir):
    unchanged = "The heart is unchanged."
    assert checks_of(study, unchanged) == {("findings", "NO_PRIOR", unchanged)}
    prior = {"text": "The heart is large.", "source": "records"}
    assert checks_of(study, unchanged, prior_report=prior) == set()
    other = StudySeeder(data_dir).draft_study(2)
    run_sql(
        "UPDATE studies SET patient_id = first.patient_id, patient_name = first.patient_name,"
        " patient_birth_date = first.patient_birth_date, study_date = '20250101'"
        " FROM studies first WHERE first.id = :first AND studies.id = :other",
        first=study,
        other=other,
    )
    assert checks_of(study, unchanged) == set()
    assert checks_of(other, unchanged) == {("findings", "NO_PRIOR", unchanged)}


@pytest.mark.parametrize(
    ("sides", "flagged"), [(["R"], True), (["L"], False), (["", ""], False), (["R", "L"], False)]
)
def test_the_side_of_the_frontal_films_is_that_of_the_text(study, sides, flagged):
    views = [{"position": "frontal", "laterality": side} for side in sides]
    views.append({"position": "lateral", "laterality": "L"})
    sentence = "A fracture of the left seventh rib."
    assert checks_of(study, sentence, views=views) == (
        {("findings", "SIDE", sentence)} if flagged else set()
    )


def test_a_draft_of_an_earlier_version_says_nothing_of_sides(study):
    assert checks_of(study, "A left rib fracture.", views=[{"position": "frontal"}]) == set()

"""Rule 11: a prior is final, of this patient, performed earlier, under another accession number."""

import datetime as dt
from dataclasses import replace

import pytest

from records.reports.prior_rule import (
    REFUSAL_SENTENCES,
    EarlierReport,
    Examination,
    PriorRefusal,
    choose_prior,
    why_not_prior,
)
from records.states import ReportStatus
from records.workflow.identifiers import PatientId
from records.workflow.patients import Patient

ANNA = Patient("P-1", "HOSPITAL", "PHANTOM^ANNA", "19700101", "F")
STUDY = Examination(
    patient=ANNA,
    accession_numbers=("A1",),
    accession_number_issuer="RIS",
    study_instance_uids=("1.2.3",),
    performed_on="20260110120000",
)
BEFORE = Examination(
    patient=ANNA,
    accession_numbers=("A0",),
    study_instance_uids=("1.2.2",),
    performed_on="20260109",
)
BERLIN = dt.timezone(dt.timedelta(hours=1))


def patient(**changed):
    return {"patient": replace(ANNA, **changed)}


def earlier(status=ReportStatus.FINAL, has_text=True, is_own=False, is_held=False, **changed):
    return EarlierReport(replace(BEFORE, **changed), status, has_text, is_own, is_held)


R = PriorRefusal
TABLE = [
    # What is taken.
    ("a final report of the day before", earlier(), None),
    ("a corrected one", earlier(ReportStatus.CORRECTED), None),
    ("of the same day, an hour earlier", earlier(performed_on="20260110110000"), None),
    ("without study UIDs", earlier(study_instance_uids=()), None),
    ("an issuer that is not given", earlier(**patient(issuer="")), None),
    ("a name from before a marriage", earlier(**patient(name="FORMER^ANNA")), None),
    ("an id in other capitals", earlier(**patient(patient_id=" p-1 ")), None),
    (
        "one number of two systems",
        earlier(accession_numbers=("A1",), accession_number_issuer="CLINIC"),
        None,
    ),
    (
        "an id from before a merge",
        earlier(**patient(patient_id="OLD"), other_patient_ids=(PatientId("P-1", "HOSPITAL"),)),
        None,
    ),
    ("one minute earlier in another zone", earlier(performed_on="20260110105900+0000"), None),
    # Whose it is.
    ("the same id of another issuer", earlier(**patient(issuer="CLINIC")), R.OTHER_PATIENT),
    ("another id", earlier(**patient(patient_id="P-2")), R.OTHER_PATIENT),
    ("no id", earlier(**patient(patient_id="")), R.OTHER_PATIENT),
    (
        "an id given twice: no issuer, other name, other birth date",
        earlier(**patient(issuer="", name="PHANTOM^BERTA", birth_date="19800101")),
        R.OTHER_PATIENT,
    ),
    # What it is.
    ("a preliminary one", earlier(ReportStatus.PRELIMINARY), R.NOT_FINAL),
    ("a cancelled one", earlier(ReportStatus.CANCELLED), R.NOT_FINAL),
    ("our own draft", earlier(is_own=True), R.OWN),
    ("one that a person must decide about", earlier(is_held=True), R.HELD),
    ("one without text", earlier(has_text=False), R.NO_TEXT),
    ("one of a knee", earlier(body_region="KNEE"), R.OTHER_REGION),
    ("one of who knows what", earlier(body_region=""), R.OTHER_REGION),
    # The study's own report.
    ("the same accession number", earlier(accession_numbers=("A1",)), R.SAME_EXAMINATION),
    ("the same one, in small letters", earlier(accession_numbers=(" a1",)), R.SAME_EXAMINATION),
    ("one of several equal", earlier(accession_numbers=("A0", "A1")), R.SAME_EXAMINATION),
    (
        "the same study UID under another accession number",
        earlier(study_instance_uids=("1.2.3",)),
        R.SAME_EXAMINATION,
    ),
    ("no accession number", earlier(accession_numbers=()), R.NO_ACCESSION_NUMBER),
    # When.
    ("a later one", earlier(performed_on="20260111"), R.NOT_EARLIER),
    ("of the same second", earlier(performed_on="20260110120000"), R.NOT_EARLIER),
    ("of the same day without a time", earlier(performed_on="20260110"), R.NOT_EARLIER),
    ("of the same month without a day", earlier(performed_on="202601"), R.NOT_EARLIER),
    ("without a date", earlier(performed_on=""), R.NO_DATE),
    ("with a date that is none", earlier(performed_on="yesterday"), R.NO_DATE),
    (
        "later, by a clock of another zone",
        earlier(performed_on="20260110110100+0000"),
        R.NOT_EARLIER,
    ),
    (
        "the day before there, the same moment here",
        earlier(performed_on="20260109230000-1200"),
        R.NOT_EARLIER,
    ),
]


@pytest.mark.parametrize(
    ("report", "refusal"), [pytest.param(*row[1:], id=row[0]) for row in TABLE]
)
def test_the_rule(report, refusal):
    assert why_not_prior(STUDY, report, BERLIN) is refusal


@pytest.mark.parametrize(
    ("changed", "refusal"),
    [
        ({"accession_numbers": ()}, R.NO_ACCESSION_NUMBER),
        ({"accession_numbers": ("A1", "A0")}, R.SAME_EXAMINATION),  # ordered under two numbers
        ({"performed_on": ""}, R.NO_DATE),
        ({"performed_on": "20260109"}, R.NOT_EARLIER),
        ({"patient": replace(ANNA, patient_id="")}, R.OTHER_PATIENT),
        ({"other_patient_ids": (PatientId("X"),)}, None),
    ],
)
def test_the_rule_where_the_study_says_little_or_more(changed, refusal):
    assert why_not_prior(replace(STUDY, **changed), earlier(), BERLIN) is refusal


def test_the_newest_is_taken_and_all_others_have_their_reason():
    reports = [
        ("older", earlier(performed_on="20251101")),
        ("own", earlier(is_own=True)),
        ("newest", earlier(performed_on="20260110020000+0000")),
        ("day before", earlier(performed_on="20260109235959")),
        ("later", earlier(performed_on="20270101")),
    ]
    for order in (reports, reports[::-1]):
        choice = choose_prior(STUDY, order, BERLIN)
        assert choice.chosen == "newest"
        assert dict(choice.refused) == {
            "older": R.OLDER,
            "own": R.OWN,
            "day before": R.OLDER,
            "later": R.NOT_EARLIER,
        }
    assert choose_prior(STUDY, []).chosen is None


def test_every_refusal_has_a_sentence():
    assert set(REFUSAL_SENTENCES) == set(PriorRefusal)

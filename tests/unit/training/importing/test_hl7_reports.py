"""Reports out of HL7 result messages: which message counts, and what of it is the report."""

from __future__ import annotations

from pathlib import Path

import pytest

from records.errors import CorpusError, SettingsError
from tests.support.hl7_results import result
from training.importing.hl7_reports import read_hl7_reports
from training.importing.reports import FoundReport, Rejection


def read(
    folder: Path, *messages: str, fields: tuple[str, ...] = ("OBR-18", "OBR-3")
) -> list[FoundReport | Rejection]:
    path = folder / "results.hl7"
    path.write_text("".join(messages), encoding="utf-8", newline="")
    return list(read_hl7_reports(path, fields))


def report(folder: Path, message: str) -> FoundReport:
    (found,) = read(folder, message)
    assert isinstance(found, FoundReport), found
    return found


def reason(folder: Path, message: str) -> str:
    (found,) = read(folder, message)
    assert isinstance(found, Rejection), found
    return found.reason


def test_a_result_is_a_report(tmp_path: Path) -> None:
    found = report(
        tmp_path,
        result(
            "ACC-7",
            (
                "TX|18748-4^REPORT||FINDINGS:",
                r"TX|18748-4^REPORT||Small effusion \T\ atelectasis.",
                "FT|18748-4^REPORT||IMPRESSION:\\.br\\Effusion.",
            ),
            reason="Dyspnoea",
            extra="ZDS|1.2.3^RIS^Application^DICOM",
        ),
    )
    assert found.texts == {
        "report": "FINDINGS:\nSmall effusion & atelectasis.\nIMPRESSION:\nEffusion.",
        "indication": "Dyspnoea",
        "procedure": "XR CHEST",
    }
    assert (found.accession, found.study_uid, found.patient) == ("ACC-7", "1.2.3", "P1")
    assert (found.taken, found.issued) == ("20260228101500", "20260301120000")
    assert found.known.name == "Plugh^Xyzzy^^^"
    assert found.known.birth_date == "19500203"
    assert found.source == "results.hl7, line 1, message CACC-7"


def test_sections_are_told_by_their_codes(tmp_path: Path) -> None:
    found = report(
        tmp_path,
        result(
            observations=(
                "TX|59776-5^Procedure findings^LN||Clear lungs.",
                "TX|71020&IMP^Chest||Normal.",
                "TX|X1^INDICATION||Cough",
                "TX|18834-2^Previous findings^LN||Old effusion.",
                "TX|18783-1^Recommendation^LN||Follow up.",
                "ST|113014^DICOM Study^DCM||1.2.840.99",
                "NM|1^Dose||7",
                "TX|59776-5^^LN||No effusion.",
                "TX|59776-5^^LN||Wrong line.!D",
                "TX|59776-5^^LN||Draft line.!P",
            )
        ),
    )
    assert found.texts == {
        "findings": "Clear lungs.\nNo effusion.",
        "impression": "Normal.",
        "indication": "Cough",
        "procedure": "XR CHEST",
    }
    assert found.study_uid == "1.2.840.99"


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (result(status="P"), "it is not final (status P, preliminary)"),
        (result(status="R"), "it is not final (status R, not verified)"),
        (result(status="Z"), "it is not final (status Z, not known)"),
        (result(kind="ORM^O01"), "it is ORM^O01"),
        (result(kind=""), "it is of no type"),
        (result(processing="T"), "it is no message of production (MSH-11 T)"),
        (result(patient=""), "it names no patient (PID-3)"),
        (result(observations=()), "it has no report (OBX)"),
        (result(observations=("ED|PDF^Report||^AP^PDF^Base64^AAAA",)),
         "its report is no text (ED)"),
        (result().split("OBR|")[0], "it has no result (OBR)"),
        (result("").replace("|FI1|", "||"), "it names neither an accession number nor a study"),
    ],
)  # fmt: skip
def test_what_is_left_out_says_why(message: str, expected: str, tmp_path: Path) -> None:
    assert reason(tmp_path, message) == expected


def test_the_status_of_the_texts_counts_where_the_result_has_none(tmp_path: Path) -> None:
    def with_statuses(*statuses: str) -> str:
        return result(
            status="", observations=tuple(f"TX|1^R||Line {s}!{s}" for s in statuses)
        )  # fmt: skip

    assert report(tmp_path, with_statuses("F", "P")).texts["report"] == "Line F"
    assert report(tmp_path, with_statuses("C")).texts["report"] == "Line C"
    assert report(tmp_path, with_statuses("W", "D")).is_withdrawn
    assert "status P" in reason(tmp_path, with_statuses("P", "W"))
    assert report(tmp_path, result(status="X")).is_withdrawn


def test_the_accession_number_is_where_the_site_has_it(tmp_path: Path) -> None:
    message = result("").replace("OBR|1", "ORC|RE||ORC3^X\rOBR|1")

    def accession(*fields: str) -> str:
        (found,) = read(tmp_path, message, fields=fields)
        assert isinstance(found, FoundReport)
        return found.accession

    assert accession("OBR-18", "OBR-3") == "FI1"
    assert accession("OBR-18", "ORC-3") == "ORC3"
    assert accession("OBR-2") == "PL1"
    for wrong in ("OBR18", "PID-3", "OBR-"):
        with pytest.raises(SettingsError, match="no field of OBR or ORC"):
            read(tmp_path, message, fields=(wrong,))


def test_a_message_has_several_results_and_a_folder_several_files(tmp_path: Path) -> None:
    second = result("A2", ("TX|1^R||Two.",)).split("\r", 2)[2]
    (tmp_path / "a").mkdir()
    (tmp_path / "a/batch.txt").write_text(
        "FHS|^~\\&\nBHS|^~\\&\n"
        + (result("A1", ("TX|1^R||One.",)) + second + result("A3")).replace("\r", "\n")
        + "BTS|2\nFTS|1\n"
    )
    (tmp_path / "b.pdf").write_bytes(b"%PDF")
    found = list(read_hl7_reports(tmp_path))
    assert [f.accession for f in found if isinstance(f, FoundReport)] == ["A1", "A2", "A3"]
    assert [f.source for f in found] == [
        "a/batch.txt, line 3, message CA1",
        "a/batch.txt, line 3, message CA1",
        "a/batch.txt, line 9, message CA3",
        "b.pdf",
    ]
    assert found[-1] == Rejection("b.pdf", "", "it holds no HL7 message")
    with pytest.raises(CorpusError, match="no file or folder"):
        list(read_hl7_reports(tmp_path / "none"))


def test_messages_of_several_makers(samples: Path) -> None:
    found = {f.source.split(",")[0]: f for f in read_hl7_reports(samples / "hl7")}
    assert len(found) == 11
    report = found.pop("dcm4che_ORU_R01-SR.hl7")
    assert isinstance(report, FoundReport)
    assert report.accession == "AccessionNumber"
    assert report.study_uid == "1.2.392.200036.9125.0.198811291108.7"
    assert "right kidney" in report.texts["findings"]
    assert "technical scan parameters" in report.texts["report"]
    assert not any("follow-up" in text.lower() for text in report.texts.values())
    reasons = {name: f.reason for name, f in found.items() if isinstance(f, Rejection)}
    assert reasons["aidbox_oru-r01_valid-preliminary.hl7"] == (
        "it is not final (status P, preliminary)"
    )
    assert reasons["msfhir_ORU-R01-01.hl7"] == "it is no message of production (MSH-11 T)"
    assert reasons["ans_MDM_radiology_report_init.hl7"] == "it is MDM^T02"
    assert len(reasons) == 10

"""Reports out of DICOM structured reports: their texts, by the section's concept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from tests.support.dicom_images import chest, write_image
from training.importing.reports import FoundReport, Rejection
from training.importing.sr_reports import read_sr_reports

BASIC, ENHANCED = "1.2.840.10008.5.1.4.1.1.88.11", "1.2.840.10008.5.1.4.1.1.88.22"


def item(
    code: str, meaning: str, *content: Dataset, text: str = "", relation: str = "CONTAINS"
) -> Dataset:
    """Return a text, or a container with content."""
    node, name = Dataset(), Dataset()
    name.CodeValue, name.CodingSchemeDesignator, name.CodeMeaning = code, "LN", meaning
    node.RelationshipType = relation
    node.ValueType = "TEXT" if text else "CONTAINER"
    node.ConceptNameCodeSequence = [name]
    if text:
        node.TextValue = text
    if content:
        node.ContentSequence = content
    return node


def write_sr(path: Path, content: Sequence[Dataset], **tags: Any) -> Path:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = ENHANCED, "1.2.3"
    dataset = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    usual = {
        "SpecificCharacterSet": "ISO_IR 192", "SOPClassUID": ENHANCED, "SOPInstanceUID": "1.2.3",
        "StudyInstanceUID": "1.2.840.7", "AccessionNumber": "A7", "PatientID": "P7",
        "PatientName": "Plugh^Xyzzy", "PatientBirthDate": "19500203", "StudyDate": "20260301",
        "StudyTime": "101500.25", "ContentDate": "20260302", "ContentTime": "090000",
        "CompletionFlag": "COMPLETE", "VerificationFlag": "VERIFIED", "Modality": "SR",
    }  # fmt: skip
    for keyword, value in {**usual, **tags}.items():
        setattr(dataset, keyword, value)
    dataset.ContentSequence = list(content)
    dataset.save_as(path, enforce_file_format=True)
    return path


REPORT = item("18748-4", "Report", text="FINDINGS: Clear. IMPRESSION: Normal.")


def read(path: Path) -> FoundReport:
    (found,) = read_sr_reports(path)
    assert isinstance(found, FoundReport), found
    return found


@pytest.mark.parametrize("sop_class", [BASIC, ENHANCED, "1.2.840.10008.5.1.4.1.1.88.33"])
def test_texts_go_to_the_section_of_their_container(sop_class: str, tmp_path: Path) -> None:
    observer = item(
        "121008", "Person Observer Name", text="Dr. Frobozz", relation="HAS OBS CONTEXT"
    )
    path = write_sr(
        tmp_path / "a.dcm",
        [
            observer,
            item("18785-6", "Indications", item("121109", "Indication", text="Hüsteln")),
            item(
                "121070",
                "Findings",
                item("121071", "Finding", text="Small effusion."),
                item("X", "Detail", item("Y", "More", text="On the left.")),
                item("121075", "Recommendation", text="Follow up."),
            ),
            item("18834-2", "Previous Findings", item("121071", "Finding", text="Old effusion.")),
            item("19005-8", "Impression", item("121073", "Impression", text="Effusion.")),
        ],
        SOPClassUID=sop_class,
        StudyDescription="XR chest",
    )
    found = read(path)
    assert found.texts == {
        "indication": "Hüsteln",
        "findings": "Small effusion.\nOn the left.",
        "impression": "Effusion.",
        "procedure": "XR chest",
    }
    assert (found.accession, found.study_uid, found.patient) == ("A7", "1.2.840.7", "P7")
    assert (found.taken, found.issued) == ("20260301101500", "20260302090000")
    assert found.known.name == "Plugh^Xyzzy"


def test_a_text_without_a_section_is_the_whole_report(tmp_path: Path) -> None:
    html = "Befund:<br>Klar &amp; frei.<BR/><b>Beurteilung:</b> gut, &lt;2 cm"
    path = write_sr(tmp_path / "a.dcm", [item("CODE_01", "Diagnosis", text=html)])
    assert read(path).texts == {
        "report": "Befund:\nKlar & frei.\nBeurteilung: gut, <2 cm"
    }  # fmt: skip
    path = write_sr(tmp_path / "b.dcm", [item("1", "Text", text="Below <2 cm & p<q.")])
    assert read(path).texts == {"report": "Below <2 cm & p<q."}


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"CompletionFlag": "PARTIAL"}, "it is not complete (0040,A491)"),
        ({"PreliminaryFlag": "PRELIMINARY"}, "it is preliminary (0040,A496)"),
        ({"PatientID": ""}, "it names no patient (0010,0020)"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.59"},
         "it is no report of text, enhanced or comprehensive SR"),
        ({"AccessionNumber": "", "StudyInstanceUID": ""},
         "it names neither an accession number nor a study"),
    ],
)  # fmt: skip
def test_what_is_left_out_says_why(tags: dict[str, str], reason: str, tmp_path: Path) -> None:
    (found,) = read_sr_reports(write_sr(tmp_path / "a.dcm", [REPORT], **tags))
    assert isinstance(found, Rejection)
    assert found.reason == reason


def test_a_folder_of_studies_has_other_files_too(tmp_path: Path) -> None:
    write_sr(tmp_path / "b.dcm", [REPORT])
    write_image(tmp_path / "a.dcm", chest())
    (tmp_path / "c.txt").write_text("no DICOM")
    found = list(read_sr_reports(tmp_path))
    assert [f.source for f in found] == ["b.dcm", "c.txt"]
    assert found[1] == Rejection("c.txt", "", "it is no DICOM file")


def test_reports_of_several_makers(samples: Path) -> None:
    found = {f.source: f for f in read_sr_reports(samples / "dicom/sr")}
    fuji = found["fuji_basic_text_1005a.dcm"]
    assert isinstance(fuji, FoundReport)
    assert fuji.accession == "0062094291"
    assert fuji.texts["report"].startswith("Befund:\nKeine Voraufnahmen")
    reasons = {n: f.reason for n, f in found.items() if isinstance(f, Rejection)}
    assert reasons["basic_text_im0.dcm"] == "it is not complete (0040,A491)"
    assert reasons["comprehensive_test-SR.dcm"] == "it names no patient (0010,0020)"
    assert reasons["enhanced_sample-sr.dcm"] == "it has no text of a report"
    assert len(found) == 6

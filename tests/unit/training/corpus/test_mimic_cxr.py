"""MIMIC-CXR-JPG from files of PhysioNet's form; every word and pixel of them is made up here."""

from __future__ import annotations

import csv
import gzip
import pathlib
import subprocess
import sys
import tracemalloc
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model.labels import RuleLabeller
from model.manifest import Preprocessing
from model.prompting.oracle import Oracle, build_oracle_instruction
from model.prompting.prompt import Symptoms
from records.errors import CorpusError
from training.corpus import mimic_cxr
from training.corpus.example import TEST, TRAIN, VALIDATE, CorpusOptions, Example, ExcludedStudy
from training.corpus.mimic_cxr import LabelledBy, MimicCxr
from training.corpus.registry import open_corpus

PREPROCESSING = Preprocessing(32, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
SPLIT = ["dicom_id", "study_id", "subject_id", "split"]
METADATA = [
    *("dicom_id", "subject_id", "study_id", "PerformedProcedureStepDescription", "ViewPosition"),
    *("Rows", "Columns", "StudyDate", "StudyTime", "ProcedureCodeSequence_CodeMeaning"),
    *("ViewCodeSequence_CodeMeaning", "PatientOrientationCodeSequence_CodeMeaning"),
]
LABELS = [
    *("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Enlarged Cardiomediastinum"),
    *("Fracture", "Lung Lesion", "Lung Opacity", "No Finding", "Pleural Effusion"),
    *("Pleural Other", "Pneumonia", "Pneumothorax", "Support Devices"),
]
SECTIONED = ["study", "impression", "findings", "last_paragraph", "comparison"]

A, B, C = 10000032, 10000764, 11999987
"""Three patients: in train, in test, in validate."""
STUDIES = {
    50414267: (A, "train", "21800506", "213014.531", [("aa-1", "PA"), ("aa-2", "LATERAL")]),
    53189527: (A, "train", "21800626", "165500.312", [("ab-1", "AP")]),
    # Later on the same day than the one before, though its number is smaller and a nought is lost.
    50000001: (A, "train", "21800507", "85556.875", [("ac-1", "LL"), ("ac-2", "")]),
    57375967: (B, "test", "21321015", "101558.0", [(f"b-{n}", v) for n, v in enumerate(
        ("AP", "PA", "AP", "LATERAL", "SWIMMERS"))]),
    58000000: (C, "validate", "21500101", "0.0", [("c-1", "PA")]),
}  # fmt: skip
"""By study: its patient, split, date, time and images."""


def write(path: Path, head: list[str], rows: Iterable[Iterable[object]]) -> None:
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "wt", newline="") as file:  # type: ignore[operator]
        csv.writer(file).writerows([head, *rows])


def report(study: int, findings: str, impression: str) -> str:
    return (
        "                                 FINAL REPORT\n EXAMINATION:  CHEST\n \n"
        f" INDICATION:  Asked in {study}\n \n COMPARISON:  None.\n \n"
        f" FINDINGS: \n \n {findings}\n \n IMPRESSION: \n \n {impression}\n"
    )


def place(root: Path, study: int, patient: int) -> Path:
    return root / f"p{str(patient)[:2]}" / f"p{patient}" / f"s{study}"


@pytest.fixture
def mimic(tmp_path: Path) -> Path:
    """All tables as .gz, reports in files, images of 40 x 30."""
    images = [
        (dicom, study, patient, split, view, date, time)
        for study, (patient, split, date, time, shot) in STUDIES.items()
        for dicom, view in shot
    ]
    # The rows are not in the order of patients, which PhysioNet does not promise either.
    write(
        tmp_path / "mimic-cxr-2.0.0-split.csv.gz",
        SPLIT,
        [(d, s, p, split) for d, s, p, split, *_ in reversed(images)],
    )
    write(
        tmp_path / "mimic-cxr-2.0.0-metadata.csv.gz",
        METADATA,
        [
            (d, p, s, "CHEST (PA AND LAT)", v, 3056, 2544, date, t, "", code, "Erect")
            for d, s, p, _, v, date, t in images
            for code in ["lateral" if v == "" else "postero-anterior"]
        ],
    )
    write(
        tmp_path / "mimic-cxr-2.0.0-chexpert.csv.gz",
        ["subject_id", "study_id", *LABELS],
        [
            [A, 50414267, *("1.0" if n in ("Cardiomegaly", "Edema") else "0.0" if n == "Fracture"
             else "-1.0" if n == "Pneumonia" else "" for n in LABELS)],
        ],
    )  # fmt: skip
    for study, (patient, *_, shot) in STUDIES.items():
        text = place(tmp_path / "mimic-cxr-reports" / "files", study, patient).with_suffix(".txt")
        text.parent.mkdir(parents=True, exist_ok=True)
        text.write_text(report(study, f"Findings of\n {study}", f"Impression of {study}"))
        folder = place(tmp_path / "files", study, patient)
        folder.mkdir(parents=True)
        for number, (dicom, _) in enumerate(shot):
            grey = np.full((40, 30), 50 * number, np.uint8)
            Image.fromarray(grey).save(folder / f"{dicom}.jpg")
    return tmp_path


def read(corpus: MimicCxr, split: str = "") -> dict[str, Example]:
    return {entry.key: entry for entry in corpus.read(split) if isinstance(entry, Example)}


def reasons(corpus: MimicCxr) -> dict[str, str]:
    return {entry.key: entry.reason for entry in corpus.read() if isinstance(entry, ExcludedStudy)}


def test_an_example_says_all_that_it_is_from(mimic: Path) -> None:
    example = read(MimicCxr(mimic))["s50414267"]
    assert (example.patient, example.split, example.target) == (
        "p10000032",
        TRAIN,
        "Findings of 50414267",
    )
    assert [(f.source, f.position) for f in example.images] == [
        ("aa-1", "frontal"),
        ("aa-2", "lateral"),
    ]
    assert example.priors.indication == "Asked in 50414267"
    assert example.priors.procedure == "CHEST (PA AND LAT)"
    assert example.prior_sources == {
        "indication": "INDICATION section",
        "procedure": "PerformedProcedureStepDescription of the film",
    }
    case = example.case(PREPROCESSING)
    assert case.views[1].pixels.mean() == pytest.approx(50, abs=2)
    assert example.oracle is not None
    assert example.oracle.symptoms == Symptoms(("Cardiomegaly", "Edema"), ("Fracture",))
    assert build_oracle_instruction(case, example.oracle, example.oracle_template) == (
        "Symptoms of existence: Cardiomegaly, Edema \n Symptoms of non-existence: Fracture \n"
    )


def test_the_official_split_and_its_order(mimic: Path) -> None:
    examples = read(MimicCxr(mimic))
    assert {key: example.split for key, example in examples.items()} == {
        "s50414267": TRAIN,
        "s50000001": TRAIN,
        "s53189527": TRAIN,
        "s57375967": TEST,
        "s58000000": VALIDATE,
    }
    assert list(examples) == ["s50414267", "s50000001", "s53189527", "s57375967", "s58000000"]
    for split in (TRAIN, VALIDATE, TEST):
        assert list(read(MimicCxr(mimic), split)) == [
            key for key, example in examples.items() if example.split == split
        ]
    split_by_patient = read(MimicCxr(mimic, CorpusOptions(split="patients", seed=1)))
    assert len({(example.patient, example.split) for example in split_by_patient.values()}) == 3


def test_one_to_three_views(mimic: Path) -> None:
    corpus = MimicCxr(mimic)
    examples = read(corpus)
    assert [(f.source, f.position) for f in examples["s57375967"].images] == [
        ("b-0", "frontal"),
        ("b-3", "lateral"),
        ("b-1", "frontal"),
    ]
    # Where ViewPosition is empty, the view code says the position.
    assert [f.position for f in examples["s50000001"].images] == ["lateral", "lateral"]
    remarks = corpus.remarks()
    assert remarks["films beyond the third, not read"] == 2
    assert remarks["examples without a frontal film"] == 1


def test_the_report_before_is_a_prior(mimic: Path) -> None:
    examples = read(MimicCxr(mimic))
    second, third = examples["s50000001"], examples["s53189527"]
    assert second.priors.prior_report == "Impression of 50414267 Findings of 50414267"
    assert second.prior_sources["prior_report"] == "study s50414267 of the same patient"
    assert third.priors.prior_report == "Impression of 50000001 Findings of 50000001"
    for first in ("s50414267", "s57375967", "s58000000"):
        assert examples[first].priors.prior_report == ""
    without = read(MimicCxr(mimic, prior_reports=False))
    assert {example.priors.prior_report for example in without.values()} == {""}
    assert read(MimicCxr(mimic), TRAIN)["s53189527"].priors == third.priors


def later(mimic: Path, study: int, patient: int, split: str, date: str, time: str = "0.0") -> None:
    """Add a study of a patient, with a report and an image; with split "" it is in none."""
    if split:
        with gzip.open(mimic / "mimic-cxr-2.0.0-split.csv.gz", "at") as file:
            file.write(f"x{study},{study},{patient},{split}\r\n")
    with gzip.open(mimic / "mimic-cxr-2.0.0-metadata.csv.gz", "at") as file:
        file.write(f"x{study},{patient},{study},,PA,1,1,{date},{time},,,\r\n")
    text = place(mimic / "mimic-cxr-reports" / "files", study, patient).with_suffix(".txt")
    text.write_text(report(study, f"Findings of {study}", f"Impression of {study}"))
    image = place(mimic / "files", study, patient) / f"x{study}.jpg"
    image.parent.mkdir()
    Image.new("L", (40, 30)).save(image)


def test_the_last_report_that_was_earlier_is_the_prior(mimic: Path) -> None:
    """Of t1, t2, t2 both of t2 get that of t1."""
    later(mimic, 59000001, C, "validate", "21500102")
    later(mimic, 59000002, C, "validate", "21500102")
    examples = read(MimicCxr(mimic))
    for second in ("s59000001", "s59000002"):
        assert (
            examples[second].prior_sources["prior_report"] == "study s58000000 of the same patient"
        )


def test_a_study_in_two_splits_is_no_prior(mimic: Path) -> None:
    later(mimic, 59000001, C, "validate", "21500102")
    later(mimic, 59000002, C, "validate", "21500103")
    with gzip.open(mimic / "mimic-cxr-2.0.0-split.csv.gz", "at") as file:
        file.write(f"zz,59000001,{C},train\r\n")
    last = read(MimicCxr(mimic))["s59000002"]
    assert last.prior_sources["prior_report"] == "study s58000000 of the same patient"


def test_every_reading_gives_the_same_priors(mimic: Path) -> None:
    """A study in no split is a prior; none that is scored is the prior of one to learn from."""
    later(mimic, 59000001, A, "", "21800508")  # between the second and the third of A
    later(mimic, 59000002, B, "train", "21321016")  # B's first is of the test split
    later(mimic, 59000003, B, "test", "21321017")
    examples = read(MimicCxr(mimic))
    before = {
        key: example.prior_sources.get("prior_report", "") for key, example in examples.items()
    }
    assert before == {
        "s50414267": "",
        "s50000001": "study s50414267 of the same patient",
        "s53189527": "study s59000001 of the same patient",
        "s57375967": "",
        "s59000002": "",
        "s59000003": "study s59000002 of the same patient",
        "s58000000": "",
    }
    for split in (TRAIN, VALIDATE, TEST):
        assert read(MimicCxr(mimic), split) == {
            key: example for key, example in examples.items() if example.split == split
        }


def test_of_the_same_minute_neither_is_prior(mimic: Path) -> None:
    path = mimic / "mimic-cxr-2.0.0-metadata.csv.gz"
    text = gzip.decompress(path.read_bytes()).decode()
    text = text.replace("21800507,85556.875", "21800506,213014.531")
    path.write_bytes(gzip.compress(text.encode()))
    assert read(MimicCxr(mimic))["s50414267"].priors.prior_report == ""
    path.write_bytes(gzip.compress(text.replace("21800506,213014.531", ",").encode()))
    assert read(MimicCxr(mimic))["s53189527"].priors.prior_report == ""


def test_the_public_scripts_sections_come_first(mimic: Path) -> None:
    rows = [
        ("s50414267", "Cut impression.", "Cut\n findings.", "", "None."),
        ("s58000000", "Only this.", "", "", ""),
    ]
    write(mimic / "mimic_cxr_sectioned.csv", SECTIONED, rows)
    corpus = MimicCxr(mimic)
    findings_only = read(corpus)
    assert findings_only["s50414267"].target == "Cut findings."
    assert findings_only["s50414267"].priors.indication == "Asked in 50414267"
    assert findings_only["s53189527"].target == "Findings of 53189527"
    assert reasons(corpus) == {"s58000000": "no findings"}
    whole_reports = read(MimicCxr(mimic, CorpusOptions(target="report")))
    assert whole_reports["s58000000"].target == "Impression: Only this."
    assert (
        whole_reports["s50414267"].target == "Findings: Cut findings. Impression: Cut impression."
    )


def test_the_table_of_sections_alone_gives_no_indication(mimic: Path) -> None:
    (mimic / "mimic-cxr-reports").rename(mimic / "elsewhere")
    write(mimic / "mimic_cxr_sectioned.csv", SECTIONED, [("s50414267", "I.", "F.", "", "")])
    corpus = MimicCxr(mimic)
    (example,) = read(corpus).values()
    assert example.priors.indication == ""
    assert "indication" not in example.prior_sources
    assert set(reasons(corpus).values()) == {"no report"}


def test_what_is_left_out_has_its_reason(mimic: Path) -> None:
    place(mimic / "mimic-cxr-reports" / "files", 53189527, A).with_suffix(".txt").unlink()
    place(mimic / "mimic-cxr-reports" / "files", 50000001, A).with_suffix(".txt").write_text("?")
    for image in place(mimic / "files", 57375967, B).iterdir():
        image.unlink()
    (place(mimic / "files", 50414267, A) / "aa-1.jpg").unlink()
    with gzip.open(mimic / "mimic-cxr-2.0.0-split.csv.gz", "at") as file:
        file.write(f"zz,58000000,{C},train\r\n")
    with gzip.open(mimic / "mimic-cxr-2.0.0-metadata.csv.gz", "at") as file:
        file.write(f"zz,{C},59000000,,PA,1,1,21500102,0,,,\r\n")
    corpus = MimicCxr(mimic)
    assert [f.source for f in read(corpus)["s50414267"].images] == ["aa-2"]
    assert reasons(corpus) == {
        "s53189527": "no report",
        "s50000001": "no findings",
        "s57375967": "no films",
        "s58000000": "in two splits or of two patients",
        "s59000000": "in no split",
    }
    assert corpus.remarks()["films not there"] == 6
    assert "s57375967" in read(MimicCxr(mimic, needs_images=False))


def test_a_labeller_can_be_passed_in(mimic: Path) -> None:
    texts: list[str] = []

    def label(text: str) -> Symptoms:
        texts.append(text)
        return Symptoms(("Edema",))

    examples = read(MimicCxr(mimic, label=label))
    assert {example.oracle.symptoms for example in examples.values() if example.oracle} == {
        Symptoms(("Edema",))
    }
    assert texts[0] == "Findings of 50414267 Impression of 50414267"


def test_a_labeller_of_reports_labels_for_the_papers_template(mimic: Path) -> None:
    label = LabelledBy(RuleLabeller())
    assert label("Cardiomegaly. No effusion.") == Symptoms(("Cardiomegaly",), ("Pleural Effusion",))
    corpus = open_corpus(f"mimic_cxr:{mimic}", label=label)
    assert corpus.identity["label"] == "rules in CheXpert's manner"
    assert isinstance(corpus, MimicCxr)
    assert {example.oracle for example in read(corpus).values()} == {Oracle()}


def test_the_papers_counts_are_compared_over_the_whole_collection(
    mimic: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = MimicCxr(mimic)
    read(corpus)
    assert not any("the paper has" in remark for remark in corpus.remarks())
    monkeypatch.setattr(mimic_cxr, "STUDIES", 1)
    remarks = corpus.remarks()
    assert any(remark == "findings in train, where the paper has 152,173" for remark in remarks)


def test_training_patients_can_be_set_apart(mimic: Path) -> None:
    examples = read(MimicCxr(mimic, CorpusOptions(validate=0.999)))
    assert Counter(example.split for example in examples.values()) == {VALIDATE: 4, TEST: 1}


def test_plain_tables_and_reports_beside_the_images_do(mimic: Path) -> None:
    for path in list(mimic.glob("*.csv.gz")):
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()
    for text in (mimic / "mimic-cxr-reports" / "files").glob("*/*/*.txt"):
        text.rename(mimic / "files" / text.parent.parent.name / text.parent.name / text.name)
    assert len(read(MimicCxr(mimic))) == 5


@pytest.mark.parametrize("reports", ["mimic-cxr-reports/files", "reports/files", "files"])
def test_all_of_it_may_lie_two_folders_down(mimic: Path, tmp_path: Path, reports: str) -> None:
    inner = tmp_path / "down" / "mimic-cxr-jpg" / "2.0.0"
    inner.mkdir(parents=True)
    for name in ("files", *(path.name for path in mimic.glob("*.csv.gz"))):
        (mimic / name).rename(inner / name)
    for text in (mimic / "mimic-cxr-reports" / "files").glob("*/*/*.txt"):
        to = inner / reports / text.parent.parent.name / text.parent.name / text.name
        to.parent.mkdir(parents=True, exist_ok=True)
        text.rename(to)
    assert len(read(MimicCxr(tmp_path / "down"))) == 5


def a_label(text: str) -> Symptoms:
    return Symptoms((text,))


def test_the_identity_is_the_same_in_every_process(
    mimic: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    identity = MimicCxr(mimic).identity
    assert identity == {
        "name": "mimic_cxr",
        "folder": str(mimic.resolve()),
        "needs_films": "True",
        "prior_reports": "True",
        "label": "PhysioNet's",
    }
    program = (
        "import sys; from pathlib import Path; from training.corpus.mimic_cxr import MimicCxr; "
        "print(MimicCxr(Path(sys.argv[1])).identity)"
    )
    outputs = [
        subprocess.run(
            [sys.executable, "-c", program, str(mimic)], capture_output=True, text=True, check=True
        ).stdout.strip()
        for _ in range(2)
    ]
    assert outputs == [str(identity)] * 2
    monkeypatch.chdir(mimic.parent)
    assert MimicCxr(Path(mimic.name)).identity == identity
    other_identities = [
        MimicCxr(mimic, needs_images=False).identity,
        MimicCxr(mimic, prior_reports=False).identity,
        MimicCxr(mimic, label=a_label).identity,
    ]
    assert identity not in other_identities
    assert other_identities[2]["label"] == f"{__name__}.a_label"


def test_missing_and_damaged_files_are_named(mimic: Path, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="no folder"):
        MimicCxr(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CorpusError, match=r"2\.0\.0-split\.csv\.gz and mimic-cxr-2\.0\.0-metadata"):
        MimicCxr(tmp_path / "empty")
    with pytest.raises(CorpusError, match="there are official, patients"):
        MimicCxr(mimic, CorpusOptions(split="r2gen"))

    def refused(name: str, content: bytes, message: str) -> None:
        path = mimic / name
        original = path.read_bytes()
        path.write_bytes(content)
        with pytest.raises(CorpusError, match=message):
            list(MimicCxr(mimic).read())
        path.write_bytes(original)

    split, labels = "mimic-cxr-2.0.0-split.csv.gz", "mimic-cxr-2.0.0-chexpert.csv.gz"
    refused(split, (mimic / split).read_bytes()[:-20], "cannot be read")
    refused(split, b"plain text", "cannot be read")
    head = ",".join(SPLIT)
    refused(split, gzip.compress(f"{head}\nd,1,2,dev\n".encode()), "a split 'dev'")
    refused(split, gzip.compress(f"{head}\nd,x,2,test\n".encode()), "'x' for a study_id")
    long = "1" * 25
    refused(split, gzip.compress(f"{head}\nd,{long},2,test\n".encode()), f"'{long}' for a study_id")
    wrong = gzip.compress(b"subject_id,study_id,No Finding\n1,50414267,2.0\n")
    refused(labels, wrong, "labels No Finding with '2.0'")

    (mimic / "mimic-cxr-reports").rename(mimic / "away")
    (mimic / "mimic-cxr-reports.zip").write_bytes(b"")
    with pytest.raises(CorpusError, match=r"no reports; unpack .*mimic-cxr-reports\.zip"):
        MimicCxr(mimic)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_corpus(tmp_path: Path) -> None:
    """The index is on disk: what Python holds for 4,000 studies is what it holds for 400."""

    def peak(count: int) -> int:
        folder = tmp_path / f"{count}"
        folder.mkdir()
        studies = [(f"{n:08x}", 50000000 + n, 10000000 + n // 2) for n in range(count)]
        write(
            folder / "mimic-cxr-2.0.0-split.csv",
            SPLIT,
            [(d, s, p, "train") for d, s, p in studies],
        )
        write(
            folder / "mimic-cxr-2.0.0-metadata.csv",
            METADATA,
            [(d, p, s, "", "PA", 1, 1, "21000101", s, "", "", "") for d, s, p in studies],
        )
        sections = [(f"s{s}", f"I{s}", f"{s} " * 60, "", "") for _, s, _ in studies]
        write(folder / "mimic_cxr_sectioned.csv", SECTIONED, sections)
        del studies, sections
        # A path's parts are interned: the interpreter's table of them is no memory of the corpus.
        path_filter = tracemalloc.Filter(False, pathlib.__file__)
        held_peak = number = 0
        tracemalloc.start()
        for number, _ in enumerate(MimicCxr(folder, needs_images=False).read(), 1):
            if number % 100 == 0:
                held = tracemalloc.take_snapshot().filter_traces([path_filter])
                held_peak = max(
                    held_peak, sum(statistic.size for statistic in held.statistics("filename"))
                )
        tracemalloc.stop()
        assert number == count
        return held_peak

    small = peak(400)
    assert peak(4000) < small + 200_000  # the texts alone are 2 MB

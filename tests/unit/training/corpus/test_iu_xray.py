"""IU X-ray from each of its three forms; small ones made here, and the samples where they are."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
import tarfile
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model.errors import PixelError
from model.manifest import Preprocessing
from model.prompting.oracle import Oracle, build_oracle_instruction
from records.errors import CorpusError
from training.corpus.check import summarise_corpus
from training.corpus.example import TEST, TRAIN, VALIDATE, CorpusOptions, Example, ExcludedStudy
from training.corpus.iu_xray import IuXray

PREPROCESSING = Preprocessing(32, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
REPORTS = [
    *("uid", "MeSH", "Problems", "image"),
    *("indication", "comparison", "findings", "impression"),
]

XML = """<eCitation><uId id="CXR{uid}"/><MedlineCitation><Article><Abstract>
<AbstractText Label="COMPARISON">None.</AbstractText>
<AbstractText Label="INDICATION">Cough {uid}</AbstractText>
<AbstractText Label="FINDINGS">{findings}</AbstractText>
<AbstractText Label="IMPRESSION">Impression {uid}</AbstractText></Abstract></Article>
</MedlineCitation><MeSH><major>Opacity/lung/base</major><major>Spine</major>
<automatic>opacity</automatic></MeSH>{images}</eCitation>"""
IMAGE = '<parentImage id="{}"><caption>Chest, 2 views</caption></parentImage>'


def write_csv(path: Path, head: list[str], rows: Iterable[Iterable[object]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([head, *rows])


def report(uid: int, findings: str | None = None) -> list[object]:
    findings_text = f"Findings {uid}" if findings is None else findings
    return [
        uid,
        "x",
        "Opacity;Spine",
        "Chest, 2 views",
        f"Cough {uid}",
        "",
        findings_text,
        f"Imp {uid}",
    ]


def kaggle(folder: Path, reports: list[list[object]], images: list[tuple[object, ...]]) -> Path:
    folder.mkdir(exist_ok=True)
    write_csv(folder / "indiana_reports.csv", REPORTS, reports)
    write_csv(folder / "indiana_projections.csv", ["uid", "filename", "projection"], images)
    return folder


def image(path: Path, grey: int = 100) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((40, 30), grey, np.uint8)).save(path)


def xml(uid: int, images: Iterable[str], findings: str | None = None) -> str:
    findings_text = f"Findings {uid}" if findings is None else findings
    return XML.format(uid=uid, findings=findings_text, images="".join(map(IMAGE.format, images)))


def examples(corpus: IuXray, split: str = "") -> list[Example]:
    return [entry for entry in corpus.read(split) if isinstance(entry, Example)]


def reasons(corpus: IuXray) -> dict[str, str]:
    return {entry.key: entry.reason for entry in corpus.read() if isinstance(entry, ExcludedStudy)}


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Report 1 has four images, 2 no findings, 3 no image here, and 4 a lateral."""
    folder = kaggle(
        tmp_path,
        [report(1), report(2, ""), report(3), report(4, "Two\n lines  here.")],
        [
            *((1, f"1_IM-0001-{n}001.dcm.png", "Frontal") for n in (1, 2, 3)),
            (1, "1_IM-0001-4001.dcm.png", "Lateral"),
            (2, "2_IM-0002-1001.dcm.png", "Frontal"),
            (3, "3_IM-0003-1001.dcm.png", "Frontal"),
            (4, "4_IM-0004-1001.dcm.png", "Lateral"),
        ],
    )
    for n in (1, 2, 3, 4):
        image(folder / "images" / "images_normalized" / f"1_IM-0001-{n}001.dcm.png", 10 * n)
    image(folder / "images" / "images_normalized" / "4_IM-0004-1001.dcm.png")
    return folder


def test_an_example_says_all_that_it_is_from(small: Path) -> None:
    first, last = examples(IuXray(small))
    assert (first.key, first.patient, first.target) == ("CXR1", "1", "Findings 1")
    assert (first.priors.indication, first.priors.procedure, first.priors.prior_report) == (
        "Cough 1",
        "",
        "",
    )
    assert first.prior_sources == {"indication": "INDICATION section"}
    assert first.oracle == Oracle(("Opacity", "Spine"), "Chest, 2 views")
    assert last.target == "Two lines here."
    assert build_oracle_instruction(
        first.case(PREPROCESSING), first.oracle, first.oracle_template
    ) == ("Problems: Opacity, Spine \n Image: Chest, 2 views \n Indication: Cough 1 \n")


def test_at_most_three_images_a_frontal_and_a_lateral_among_them(small: Path) -> None:
    corpus = IuXray(small)
    first = examples(corpus)[0]
    assert [(f.source, f.position) for f in first.images] == [
        ("CXR1_IM-0001-1001", "frontal"),
        ("CXR1_IM-0001-4001", "lateral"),
        ("CXR1_IM-0001-2001", "frontal"),
    ]
    assert [int(f.pixels(PREPROCESSING).mean()) for f in first.images] == [10, 40, 20]
    assert corpus.remarks()["films beyond the third, not read"] == 1
    assert corpus.remarks()["examples without a frontal film"] == 1


def test_what_is_left_out_has_its_reason(small: Path) -> None:
    assert reasons(IuXray(small)) == {"CXR2": "no findings", "CXR3": "no films"}
    corpus = IuXray(small, CorpusOptions(target="report"))
    assert reasons(corpus) == {"CXR2": "no films", "CXR3": "no films"}
    assert examples(corpus)[0].target == "Findings: Findings 1 Impression: Imp 1"


def test_reports_can_be_read_without_images(small: Path) -> None:
    read = examples(IuXray(small, CorpusOptions(target="report"), needs_images=False))
    assert [example.key for example in read] == ["CXR1", "CXR2", "CXR3", "CXR4"]
    assert read[1].target == "Impression: Imp 2"
    with pytest.raises(PixelError, match="no film 2_IM-0002"):
        read[1].case(PREPROCESSING)


def test_one_split_gives_examples_of_it_alone(small: Path) -> None:
    corpus = IuXray(small, needs_images=False)
    keys = [example.key for split in (TRAIN, TEST) for example in examples(corpus, split)]
    assert sorted(keys) == [example.key for example in examples(corpus)]
    assert all(isinstance(example, Example) for example in corpus.read(TRAIN))
    with pytest.raises(ValueError, match="there is no split"):
        list(corpus.read("dev"))


@pytest.mark.parametrize("packed", [True, False])
def test_openi_alone(tmp_path: Path, packed: bool) -> None:
    texts = {
        7: xml(7, ["CXR7_IM-0007-1001", "CXR7_IM-0007-1002"]),
        8: xml(8, []),
        9: xml(9, ["CXR9_9_IM-0009-1001"], ""),
    }
    if packed:
        with tarfile.open(tmp_path / "NLMCXR_reports.tgz", "w:gz") as archive:
            for uid, text in texts.items():
                info = tarfile.TarInfo(f"ecgen-radiology/{uid}.xml")
                info.size = len(text.encode())
                archive.addfile(info, io.BytesIO(text.encode()))
    else:
        (tmp_path / "ecgen-radiology").mkdir()
        for uid, text in texts.items():
            (tmp_path / "ecgen-radiology" / f"{uid}.xml").write_text(text)
    image(tmp_path / "NLMCXR_png" / "CXR7_IM-0007-1002.png")
    corpus = IuXray(tmp_path)
    (example,) = examples(corpus)
    assert example.priors.indication == "Cough 7"
    assert [(f.source, f.position) for f in example.images] == [("CXR7_IM-0007-1002", "unknown")]
    assert example.oracle == Oracle(("Opacity", "Spine"), "Chest, 2 views")
    assert reasons(corpus) == {"CXR8": "no film in the collection", "CXR9": "no findings"}


def annotation(path: Path, **splits: list[int]) -> None:
    content = {
        split: [
            {
                "id": f"CXR{uid}_IM-{uid:04d}",
                "report": f"Findings {uid}",
                "image_path": [f"CXR{uid}_IM-{uid:04d}/{n}.png" for n in (0, 1)],
                "split": split,
            }
            for uid in splits.get(split, [])
        ]
        for split in ("train", "val", "test")
    }
    path.write_text(json.dumps(content))


def test_r2gen_alone(tmp_path: Path) -> None:
    annotation(tmp_path / "annotation.json", train=[5], val=[6], test=[7, 8])
    for uid in (5, 6, 7):
        image(tmp_path / "images" / f"CXR{uid}_IM-000{uid}" / "0.png")
        image(tmp_path / "images" / f"CXR{uid}_IM-000{uid}" / "1.png")
    corpus = IuXray(tmp_path, CorpusOptions(split="r2gen"))
    read = examples(corpus)
    assert [(example.key, example.split) for example in read] == [
        ("CXR5", TRAIN),
        ("CXR6", VALIDATE),
        ("CXR7", TEST),
    ]
    assert {view.position for example in read for view in example.images} == {"unknown"}
    assert read[0].images[0].pixels(PREPROCESSING).shape == (32, 32)
    assert reasons(corpus) == {"CXR8": "no films"}
    with pytest.raises(CorpusError, match=r"paper's split is of all reports.*r2gen"):
        IuXray(tmp_path)


def test_r2gens_images_are_not_read_beside_the_same_under_their_own_names(small: Path) -> None:
    annotation(small / "annotation.json", train=[1], test=[3])
    image(small / "iu" / "CXR1_IM-0001" / "0.png")
    image(small / "iu" / "CXR3_IM-0003" / "0.png")
    first, third = examples(IuXray(small, CorpusOptions(split="r2gen")))
    assert {f.source for f in first.images} == {f"CXR1_IM-0001-{n}001" for n in (1, 4, 2)}
    assert [f.source for f in third.images] == ["CXR3_0"]
    assert reasons(IuXray(small, CorpusOptions(split="r2gen")))["CXR4"] == "not in R2Gen's split"


def test_sources_that_differ_are_summary_and_the_first_counts(small: Path) -> None:
    for uid in (1, 4):
        (small / f"{uid}.xml").write_text(xml(uid, [f"CXR{uid}_IM-000{uid}-1001"]))
    corpus = IuXray(small)
    assert examples(corpus)[1].target == "Two lines here."
    remarks = corpus.remarks()
    assert remarks["reports whose findings differ between sources"] == 1
    assert remarks["reports whose indication differ between sources"] == 0
    assert remarks["reports whose impression differ between sources"] == 2


def test_a_patient_is_who_the_headers_say(tmp_path: Path) -> None:
    uids = range(1, 41)
    kaggle(
        tmp_path,
        [report(uid) for uid in uids],
        [(uid, f"{uid}_IM-0001-1001.dcm.png", "Frontal") for uid in uids],
    )
    write_csv(
        tmp_path / "nlmcxr_dicom_metadata.csv",
        ["imageid", "Patient ID"],
        [(f"CXR{uid}_IM-0001-1001", f"P{uid // 4}") for uid in uids],
    )
    corpus = IuXray(tmp_path, needs_images=False)
    sides: dict[str, set[str]] = {}
    for example in examples(corpus):
        sides.setdefault(example.patient, set()).add(example.split)
    assert len(sides) == 11
    assert all(len(splits) == 1 for splits in sides.values())
    assert {split for splits in sides.values() for split in splits} == {TRAIN, TEST}


@pytest.fixture(scope="module")
def make_collection(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int, int], Path]:
    """Makes a collection of so many reports, of which so many have findings."""

    def make(reports: int, findings: int) -> Path:
        return kaggle(
            tmp_path_factory.mktemp("iu"),
            [report(uid, None if uid <= findings else "") for uid in range(1, reports + 1)],
            [(uid, f"{uid}_IM-1-1.dcm.png", "Frontal") for uid in range(1, reports + 1)],
        )

    return make


@pytest.mark.slow
def test_the_published_splits_of_the_whole_collection(
    make_collection: Callable[[int, int], Path],
) -> None:
    folder = make_collection(3851, 3337)
    uids = range(1, 3338)
    annotation(
        folder / "annotation.json",
        train=[*uids[:2069]],
        val=[*uids[2069:2365]],
        test=[*uids[2365:2955]],
    )
    drawn = []
    for seed in (0, 1):
        read = examples(IuXray(folder, CorpusOptions(seed=seed), needs_images=False))
        assert Counter(example.split for example in read) == {TRAIN: 2668, TEST: 669}
        drawn.append({example.key for example in read if example.split == TEST})
    assert len(drawn[0] & drawn[1]) < 200  # a fifth of 669 is in both by chance
    r2gen = examples(IuXray(folder, CorpusOptions(split="r2gen"), needs_images=False))
    assert Counter(example.split for example in r2gen) == {TRAIN: 2069, VALIDATE: 296, TEST: 590}
    report_sides = {
        example.key: example.split
        for example in examples(IuXray(folder, CorpusOptions("report"), needs_images=False))
    }
    assert len(report_sides) == 3851
    assert all(report_sides[key] == TEST for key in drawn[0])

    annotation(folder / "annotation.json", train=[*uids[:2070]], val=[*uids[2070:2955]])
    with pytest.raises(CorpusError, match=r"2,069/296/590 reports, and here are 2,070/885/0"):
        list(IuXray(folder, needs_images=False).read())


@pytest.mark.parametrize(("reports", "findings"), [(3851, 3336), (3852, 3337)])
def test_a_whole_collection_of_another_size_is_refused(
    make_collection: Callable[[int, int], Path], reports: int, findings: int
) -> None:
    with pytest.raises(CorpusError, match=rf"3,337 with findings, and here are {reports:,} and"):
        list(IuXray(make_collection(reports, findings), needs_images=False).read())


def test_the_extension_of_an_image_is_read_in_any_case(small: Path) -> None:
    folder = small / "images" / "images_normalized"
    image(folder / "3.png")
    (folder / "3.png").rename(folder / "3_IM-0003-1001.dcm.PNG")
    (example,) = (example for example in examples(IuXray(small)) if example.key == "CXR3")
    assert [(f.source, f.position) for f in example.images] == [("CXR3_IM-0003-1001", "frontal")]
    assert example.images[0].pixels(PREPROCESSING).mean() == 100


def test_a_folder_whose_name_is_no_text_is_named(small: Path) -> None:
    image(small / os.fsdecode(b"caf\xe9") / "3_IM-0003-1001.dcm.png")
    with pytest.raises(CorpusError, match="not in UTF-8; rename it"):
        examples(IuXray(small))


def test_the_identity_is_the_same_in_every_process(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    identity = IuXray(small).identity
    assert identity == {"name": "iu_xray", "folder": str(small.resolve()), "needs_films": "True"}
    program = (
        "import sys; from pathlib import Path; from training.corpus.iu_xray import IuXray; "
        "print(IuXray(Path(sys.argv[1])).identity)"
    )
    outputs = [
        subprocess.run(
            [sys.executable, "-c", program, str(small)], capture_output=True, text=True, check=True
        ).stdout.strip()
        for _ in range(2)
    ]
    assert outputs == [str(identity)] * 2
    monkeypatch.chdir(small.parent)
    assert IuXray(Path(small.name)).identity == identity
    assert IuXray(small, needs_images=False).identity != identity


def test_damaged_files_are_named(small: Path, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="no folder"):
        IuXray(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        CorpusError, match=r"holds no reports of IU X-ray; put indiana_reports\.csv"
    ):
        IuXray(tmp_path / "empty")
    with pytest.raises(CorpusError, match=r"annotation\.json; put it into"):
        IuXray(small, CorpusOptions(split="r2gen"))

    def refused(text: str, message: str, name: str = "indiana_reports.csv") -> None:
        original = (small / name).read_text() if (small / name).exists() else None
        (small / name).write_text(text)
        with pytest.raises(CorpusError, match=message):
            list(IuXray(small, CorpusOptions(split="patients")).read())
        (small / name).unlink() if original is None else (small / name).write_text(original)

    refused("uid,findings\n1,x\n", "no column 'Problems', 'image'")
    head = ",".join(REPORTS)
    refused(f"{head}\n1,x,x\n", "fields at line 2")
    refused(f"{head}\none,,,,,,,\n", "'one'")
    refused(f"{head}\n1,,,,,,,\n1,,,,,,,\n", "the report 1 twice")
    refused("<eCitation><uId", "not XML", "1.xml")
    refused("not json", "not R2Gen's", "annotation.json")
    refused('{"train": [{"id": "p10/s50"}]}', "not IU X-ray's", "annotation.json")
    refused(
        "uid,filename,projection\n1,other.png,Frontal\n", "'other.png'", "indiana_projections.csv"
    )
    refused(f"{head}\n{'1' * 25},,,,,,,\n", "the number '1111111111111111111111111'")
    refused(f"{head}\n{'1' * 5000},,,,,,,\n", "at most nine digits")
    refused('<?xml version="1.0" encoding="none"?><a/>', "not XML", "1.xml")
    for damaged in (
        "[" * 200_000,
        r'{"train": [{"id": "CXR1_IM-0001", "report": "\ud800", "image_path": []}]}',
        r'{"train": [{"id": "CXR1_IM-0001", "report": "", "image_path": ["\ud800/0.png"]}]}',
        '{"train": [{"id": "CXR1_IM-0001", "report": 1, "image_path": []}]}',
    ):
        refused(damaged, r"not R2Gen's annotation\.json", "annotation.json")
    long = f"{'1' * 25}_IM-0001-1001.dcm.png"
    refused(f"uid,filename,projection\n1,{long},Frontal\n", f"'{long}'", "indiana_projections.csv")
    (small / long).write_bytes(b"")  # a file with another form of name is no image of a report
    assert len(examples(IuXray(small))) == 2
    (small / "NLMCXR_reports.tgz").write_bytes(b"\x1f\x8b no archive")
    with pytest.raises(CorpusError, match=r"NLMCXR_reports\.tgz cannot be read"):
        list(IuXray(small).read())


# ---- The samples ----


@pytest.fixture(scope="module")
def iu(samples: Path) -> Path:
    return samples / "iu"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("reading", "counts", "repeated_reports"),
    [
        (CorpusOptions(), {TRAIN: 2661, VALIDATE: 0, TEST: 667}, None),
        (CorpusOptions(split="r2gen"), {TRAIN: 2064, VALIDATE: 295, TEST: 588}, 280),
    ],
)
def test_the_samples_counts(
    iu: Path, reading: CorpusOptions, counts: dict[str, int], repeated_reports: int | None
) -> None:
    """`repeated_reports` of the test split are word for word in another split too."""
    summary = summarise_corpus(IuXray(iu, reading, needs_images=False))
    assert summary.examples == counts
    assert summary.in_two_splits == 0
    assert repeated_reports in (None, summary.doubles["word for word"][TEST]["elsewhere"])
    remarks = summary.remarks
    assert remarks["reports with a film in the collection"] == 3841
    assert remarks["of these with findings"] == 3328
    assert remarks["patients"] == 3841
    assert [remarks[key] for key in remarks if "differ" in key] == [0] * 5


@pytest.mark.slow
def test_each_form_of_the_samples_gives_the_same_reports(iu: Path, tmp_path: Path) -> None:
    forms = (
        ["indiana_reports.csv", "indiana_projections.csv"],
        ["NLMCXR_reports.tgz"],
        ["annotation.r2gen.json"],
    )
    read = []
    for number, form in enumerate(forms):
        folder = tmp_path / str(number)
        folder.mkdir()
        for name in form:
            (folder / name).symlink_to(iu / "filtered" / name)
        corpus = IuXray(folder, CorpusOptions(split="patients"), needs_images=False)
        read.append(
            {
                example.key: (
                    example.target,
                    example.patient,
                    example.split,
                    example.priors.indication,
                    example.oracle,
                )
                for example in examples(corpus)
            }
        )
    assert len(read[0]) == 3328
    assert read[0] == read[1]
    assert len(read[2]) == 2947
    assert all(read[0][key][:3] == fields[:3] for key, fields in read[2].items())


@pytest.mark.slow
def test_the_images_of_the_samples(iu: Path) -> None:
    read = {example.key: example for example in IuXray(iu).read() if isinstance(example, Example)}
    assert {key: [f.position for f in example.images] for key, example in read.items()} == {
        "CXR20": ["lateral"],
        "CXR54": ["frontal", "lateral"],
        "CXR368": ["unknown", "unknown"],
        "CXR1000": ["frontal", "lateral", "frontal"],
        "CXR1003": ["frontal"],
    }
    for example in read.values():
        for view in example.case(PREPROCESSING).views:
            assert view.pixels.shape == (32, 32)
            assert view.pixels.std() > 20

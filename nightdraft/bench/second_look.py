"""`nightdraft bench second-look`: how many planted misses a weekly budget of second looks finds.

An archive of phantoms is drafted by a bundle, for its films have noise that makes it err, and gets
reports in which some findings were left out on purpose. The reports are taken in, compared and
checked by the functions of the product, in a database of its own. Then the ranked list is read from
the top by a reader who is always right. In random order, as many reads find what chance gives.
"""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from sqlalchemy import insert, select, update

from model.case import Case, FailedCase
from model.labels.base import CONSOLIDATION, LUNG_LESION, PNEUMOTHORAX
from model.manifest import Manifest
from model.prompting.confidence import sentence_confidences
from model.reporter import load_reporter
from nightdraft.bench.fresh_database import fresh_database, vacuum
from nightdraft.bench.machine import machine_facts
from records.database.discrepancy_tables import Discrepancy
from records.database.draft_tables import Draft, DraftRequest
from records.database.session import unit_of_work
from records.database.tables import Study
from records.errors import PartError
from records.reports import second_looks
from records.reports.receiving import receive_report
from records.reports.report import OutsideReport
from records.states import (
    WARNING,
    DiscrepancySide,
    DiscrepancyState,
    Origin,
    ReportStatus,
    RequestState,
    StudyState,
)
from records.telemetry import set_up_logs
from records.workflow.patients import Patient
from training.corpus.phantoms import HELD_OUT, Phantom, phantom
from training.corpus.phantoms_words import write_report
from worker import discrepancies, final_comparisons
from worker.discrepancies import certainty_of

KINDS = {PNEUMOTHORAX: "pneumothorax", LUNG_LESION: "nodule", CONSOLIDATION: "consolidation"}
"""The observations that are looked for, each with the kind of finding that phantoms have of it."""

FIRST_SEED = HELD_OUT + 200_000
_SAVE_AT_ONCE = 500
_REPORTS_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class PlantedMiss:
    """A finding of a phantom that its report leaves out.

    Attributes:
        observation: Which of the observations that are looked for.
        is_mentioned_later: Whether a later report of the patient mentions it.
    """

    observation: str
    is_mentioned_later: bool


@dataclass(frozen=True, slots=True)
class Archive:
    """What the bench draws.

    Attributes:
        studies: How many studies, each of a patient of its own.
        misses: How many findings are left out of reports, and mentioned nowhere.
        mentioned: How many further ones are left out and mentioned by a later report.
        noise: The most noise of a film, as a standard deviation in grey values of 255; that of each
            film is drawn evenly from 0 to it.
        seed: Of all chance.
    """

    studies: int
    misses: int
    mentioned: int
    noise: float
    seed: int


def measure(
    archive: Archive,
    reads: int,
    bundle: str,
    device: str | None,
    log: Callable[[str], None],
) -> dict[str, Any]:
    """Run the bench in a temporary data folder.

    Args:
        archive: What is drawn.
        reads: Second looks of the budget.
        bundle: The bundle that drafts.
        device: The device; None chooses one.
        log: Gets a line for each step.

    Returns:
        The measurements, as JSON has them.

    Raises:
        PartError: PostgreSQL does not start, or a phantom could not be drafted.
        BundleError, DeviceError: The bundle cannot be loaded.
    """
    set_up_logs(level="warning")  # a worker logs a line for each comparison
    with fresh_database(
        draft_reported_studies="true",
        second_look_reads=str(reads),
        second_look_controls="0",
        log_level="warning",
    ):
        planted = _choose_misses(archive)
        started = time.perf_counter()
        manifest = _draft_all(archive, bundle, device, log)
        drafted = time.perf_counter()
        _report_all(archive, planted, log)
        reported = time.perf_counter()
        _compare_all(archive, log)
        compared = time.perf_counter()
        figures = _read_list(archive, planted, reads)
    return {
        "bench": "second-look",
        **asdict(archive),
        "bundle": {"name": manifest.name, "version": manifest.version, "digest": manifest.digest},
        "reads": reads,
        **figures,
        "seconds": {
            "drafting": round(drafted - started, 1),
            "taking reports in": round(reported - drafted, 1),
            "comparing and checking": round(compared - reported, 1),
        },
        **machine_facts(),
    }


def render(measured: dict[str, Any]) -> RenderableType:
    """The measurements as a table."""
    table = Table(
        "reads",
        "ranked: found",
        "recall",
        "without a finding head",
        "random in the list",
        "random in the archive",
        box=None,
    )
    for row in measured["recall"]:
        table.add_row(
            f"{row['reads']:,}",
            f"{row['found']} of {measured['misses']}",
            f"{row['ranked']:.0%}",
            f"{row['ranked_by_words']:.0%}",
            f"{row['random_in_list']:.0%}",
            f"{row['random_in_archive']:.1%}",
        )
    per = measured["reads_per_confirmed"]
    return Group(
        Text(
            f"{measured['studies']:,} reports with {measured['misses']} planted misses; the list "
            f"has {measured['listed']:,} entries, {measured['planted_in_list']} of them planted."
        ),
        Text(
            f"{measured['closed_as_mentioned']} entries were closed, because a later report "
            f"mentions the finding ({measured['mentioned']} were planted so); the model's list of "
            f"errors has {measured['errors_of_model']:,}."
        ),
        table,
        Text(f"reads for each confirmed miss: {per:.1f}" if per else "no miss was confirmed"),
    )


def _choose_misses(archive: Archive) -> dict[int, PlantedMiss]:
    """By the number of a study, what its report leaves out."""
    chance = random.Random(archive.seed)
    numbers = list(range(archive.studies))
    chance.shuffle(numbers)
    planted: dict[int, PlantedMiss] = {}
    for number in numbers:
        if len(planted) == archive.misses + archive.mentioned:
            break
        there = [name for name in KINDS if _has(phantom(FIRST_SEED + number), name)]
        if there:
            is_mentioned = len(planted) >= archive.misses
            planted[number] = PlantedMiss(chance.choice(there), is_mentioned)
    return planted


def _has(drawn: Phantom, observation: str) -> bool:
    return any(name.startswith(KINDS[observation]) for name in drawn.findings)


def _draft_all(
    archive: Archive, bundle: str, device: str | None, log: Callable[[str], None]
) -> Manifest:
    """Draft every phantom with the bundle, and save study, request and draft."""
    reporter = load_reporter(bundle, device)
    size = reporter.manifest.preprocessing.size

    def cases() -> Iterator[Case]:
        for number in range(archive.studies):
            case = phantom(FIRST_SEED + number).case(size)
            chance = np.random.default_rng([archive.seed, number])
            noise = chance.uniform(0, archive.noise)
            views = [
                replace(
                    view,
                    pixels=np.clip(
                        view.pixels + noise * chance.standard_normal(view.pixels.shape) + 0.5,
                        0,
                        255,
                    ).astype(np.uint8),
                )
                for view in case.views
            ]
            yield replace(case, key=str(number), views=tuple(views))

    rows: list[dict[str, Any]] = []
    for done, draft in enumerate(reporter.draft(cases()), 1):
        if isinstance(draft, FailedCase):
            raise PartError(f"phantom {draft.key} could not be drafted")
        sentences = sentence_confidences(draft.text, draft.tokens, draft.logprobs)
        rows.append(
            {
                "number": int(draft.key),
                "text": f"{WARNING}\n\n{draft.text}",
                "findings": draft.findings,
                "impression": draft.impression,
                "sentences": [asdict(sentence) for sentence in sentences] or None,
                "finding_scores": draft.finding_scores or None,
            }
        )
        if len(rows) == _SAVE_AT_ONCE:
            _save(rows, reporter.manifest)
            rows = []
            log(f"drafted {done:,} of {archive.studies:,}")
    if rows:
        _save(rows, reporter.manifest)
    return reporter.manifest


def _save(drafted: Sequence[dict[str, Any]], manifest: Manifest) -> None:
    """Save studies that were drafted, by a few large statements."""
    ids = [(uuid.uuid4(), uuid.uuid4(), uuid.uuid4()) for _ in drafted]
    studies, requests, drafts = [], [], []
    for row, (study_id, request_id, draft_id) in zip(drafted, ids, strict=True):
        number = row["number"]
        studies.append(
            {
                "id": study_id,
                "study_instance_uid": f"2.25.9{number:09d}",
                "patient_id": _patient(number).patient_id,
                "patient_id_issuer": "",
                "patient_name": _patient(number).name,
                "patient_birth_date": _patient(number).birth_date,
                "patient_sex": _patient(number).sex,
                "accession_number": f"A{number}",
                "study_date": "20250101",
                "study_description": "CHEST",
                "state": StudyState.COMPLETE,
                "priority": 3,
                "calling_ae": "ARCHIVE",
            }
        )
        requests.append(
            {
                "id": request_id,
                "study_id": study_id,
                "revision": 1,
                "priority": 3,
                "state": RequestState.DRAFTED,
                "inputs_digest": f"{number:064d}",
            }
        )
        drafts.append(
            {
                "id": draft_id,
                "study_id": study_id,
                "request_id": request_id,
                "revision": 1,
                "purpose": "PRIMARY",
                "model_name": manifest.name,
                "model_version": manifest.version,
                "bundle_digest": manifest.digest,
                "settings_digest": "bench",
                "inputs_digest": f"{number:064d}",
                "notice": manifest.notice,
                "prompt": "",
                "indication": "",
                "indication_source": "none",
                "views": [],
                "left_out": [],
                "notes": [],
                "timings": {},
                "tokens": [],
                "token_logprobs": [],
                "cut": False,
                "device": "",
                "dtype": "",
                **{name: value for name, value in row.items() if name != "number"},
            }
        )
    with unit_of_work() as session:
        session.execute(insert(Study), studies)
        session.execute(insert(DraftRequest), requests)
        session.execute(insert(Draft), drafts)
        for table, column, place in ((Study, "request_id", 1), (DraftRequest, "draft_id", 2)):
            session.execute(
                update(table),
                [{"id": row[0 if table is Study else 1], column: row[place]} for row in ids],
            )


def _report_all(
    archive: Archive, planted: dict[int, PlantedMiss], log: Callable[[str], None]
) -> None:
    """Take the final report of every study in, as an import does; then the later reports."""
    vacuum("(ANALYZE)")
    for first in range(0, archive.studies, _REPORTS_AT_ONCE):
        with unit_of_work() as session:
            for number in range(first, min(first + _REPORTS_AT_ONCE, archive.studies)):
                miss = planted.get(number)
                without = KINDS[miss.observation] if miss else ""
                receive_report(session, _make_report(archive, number, without))
        if (first + _REPORTS_AT_ONCE) % 5_000 == 0:
            log(f"took {first + _REPORTS_AT_ONCE:,} reports in")
    with unit_of_work() as session:
        for number, miss in planted.items():
            if miss.is_mentioned_later:
                receive_report(session, _make_report(archive, number, "", is_later=True))


def _make_report(
    archive: Archive, number: int, without: str, *, is_later: bool = False
) -> OutsideReport:
    """The report of a phantom, worded anew, perhaps without a kind of finding."""
    drawn = phantom(FIRST_SEED + number)
    kept = frozenset(name for name in drawn.findings if not (without and name.startswith(without)))
    chance = np.random.default_rng([archive.seed, number, 5 + is_later])
    findings, impression = write_report(chance, kept, drawn.sizes)
    return OutsideReport(
        origin=Origin.FILE,
        sender="ARCHIVE",
        status=ReportStatus.FINAL,
        patient=_patient(number),
        report_number=f"{'L' if is_later else 'R'}{number}",
        accession_numbers=(f"{'L' if is_later else 'A'}{number}",),
        procedure="XR CHEST",
        body_region="CHEST",
        performed_on="20250301" if is_later else "20250101",
        findings=findings,
        impression=impression,
        text=f"FINDINGS: {findings}\n\nIMPRESSION: {impression}",
    )


def _patient(number: int) -> Patient:
    return Patient(f"P{number}", "", f"PHANTOM^{number}", "19700101", "F")


def _compare_all(archive: Archive, log: Callable[[str], None]) -> None:
    vacuum("(ANALYZE)")
    done = 0
    while count := final_comparisons.compare_finals():
        done += count
        if done % 5_000 == 0:
            log(f"compared {done:,} of {archive.studies:,}")
    while discrepancies.check_waiting():
        pass


def _read_list(archive: Archive, planted: dict[int, PlantedMiss], reads: int) -> dict[str, Any]:
    """Read the list from the top, as far as the budget goes, and count."""
    with unit_of_work() as session:
        listed = session.execute(
            select(Study.accession_number, Discrepancy.observation, Draft.sentences)
            .join(Study, Study.id == Discrepancy.study_id)
            .join(Draft, Draft.id == Discrepancy.draft_id)
            .where(
                Discrepancy.side == DiscrepancySide.MISS_OF_REPORT,
                Discrepancy.state == DiscrepancyState.OPEN,
            )
            .order_by(Discrepancy.certainty.desc(), Discrepancy.id.desc())
        ).all()
        counts = second_looks.read_counts(session)
    sought = {
        (f"A{number}", miss.observation)
        for number, miss in planted.items()
        if not miss.is_mentioned_later
    }
    ranked = [(number, observation) for number, observation, _ in listed]
    ranks = [rank for rank, entry in enumerate(ranked, 1) if entry in sought]
    # As the list would be without a finding head.
    by_words = sorted(listed, key=lambda row: certainty_of(row[1], row[2]), reverse=True)
    ranks_by_words = [rank for rank, row in enumerate(by_words, 1) if (row[0], row[1]) in sought]
    steps = sorted({*(n for n in (50, 100, 200, 1000) if n < len(ranked)), reads})
    recall = [
        {
            "reads": step,
            "found": sum(rank <= step for rank in ranks),
            "ranked": sum(rank <= step for rank in ranks) / archive.misses,
            "ranked_by_words": sum(rank <= step for rank in ranks_by_words) / archive.misses,
            "random_in_list": len(ranks) * min(1.0, step / max(1, len(ranked))) / archive.misses,
            "random_in_archive": min(1.0, step / archive.studies),
        }
        for step in steps
    ]
    read = _answer_by_truth(reads)
    return {
        "listed": len(ranked),
        "planted_in_list": len(ranks),
        "ranks": ranks,
        "ranks_by_words": ranks_by_words,
        "errors_of_model": counts.numbers[DiscrepancySide.MISS_OF_MODEL][DiscrepancyState.OPEN],
        "closed_as_mentioned": counts.numbers[DiscrepancySide.MISS_OF_REPORT][
            DiscrepancyState.MENTIONED
        ],
        "recall": recall,
        **read,
    }


def _answer_by_truth(reads: int) -> dict[str, Any]:
    """Ask and answer questions until the budget is used up, by what was drawn."""
    for _ in range(reads):
        with unit_of_work() as session:
            question = second_looks.ask_next(session)
            if question is None:
                break
            drawn = phantom(FIRST_SEED + int(question.study.accession_number[1:]))
            is_there = _has(drawn, question.observation)
            verdict = DiscrepancyState.CONFIRMED if is_there else DiscrepancyState.DENIED
            second_looks.answer(session, question.id, verdict)
    with unit_of_work() as session:
        counts = second_looks.read_counts(session)
    return {
        "reads_made": counts.reads(DiscrepancySide.MISS_OF_REPORT),
        "reads_per_confirmed": counts.reads_per_confirmed,
    }

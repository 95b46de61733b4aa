"""Reads what a PACS lists, whichever way it was asked, and holds it against what was asked for.

A PACS may ignore a key and answer with more, and it may leave out what it was to return.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from intake.archive.errors import PullFailed
from intake.archive.listed import Availability, ListedInstance, ListedStudy, StudyListing
from intake.archive.wanted import sort_out, unwanted_reason
from intake.dicom.limits import is_valid_uid
from records.workflow.identifiers import plain_key

Answered = Callable[[str], str]
r"""One answer: the text of an attribute by its keyword, values joined by `\`, "" where it is not
given."""


MANY_OTHERS = 20
"""So many studies with other accession numbers show that a PACS does not look at the number."""


def read_studies(answers: Iterable[Answered]) -> Iterator[ListedStudy]:
    """The answers as studies; one without a valid UID names nothing that could be fetched."""
    for text in answers:
        uid = text("StudyInstanceUID")
        if not is_valid_uid(uid):
            continue
        instances = text("NumberOfStudyRelatedInstances")
        yield ListedStudy(
            uid,
            text("AccessionNumber"),
            text("StudyDate"),
            text("StudyTime"),
            tuple(name for name in text("ModalitiesInStudy").split("\\") if name),
            int(instances) if instances.isascii() and instances.isdigit() else None,
            Availability.of(text("InstanceAvailability")),
        )


def check_accession_number(accession_number: str) -> None:
    r"""Refuse a number that means several in a question: with `*`, `?` or `\` (PS3.4 C.2.2.2).

    Raises:
        PullFailed: it is one.
    """
    if not accession_number.strip() or any(letter in accession_number for letter in "*?\\"):
        raise PullFailed(
            "an accession number with *, ? or \\, or without a letter, cannot be asked for"
        )


def with_accession_number(
    accession_number: str, studies: Iterable[ListedStudy]
) -> list[ListedStudy]:
    """Those that have the number, but for spaces and capitals.

    Raises:
        PullFailed: there are many, and none has it: the PACS did not match by it, and may have cut
            its answer.
    """
    listed = list(studies)
    wanted = plain_key(accession_number)
    found = [study for study in listed if plain_key(study.accession_number) == wanted]
    if not found and len(listed) >= MANY_OTHERS:
        raise PullFailed(
            "asked by accession number, the PACS answered with many other studies: it does not "
            "match by it"
        )
    return found


def list_objects(
    study: str,
    series: Iterable[Answered],
    ask_instances: Callable[[str], Iterable[Answered]],
) -> StudyListing | None:
    """The objects of a study; None where the PACS does not know the study.

    Args:
        study: its UID.
        series: the answers about its series.
        ask_instances: asks for the instances of one series. The objects of a series of which
            nothing is wanted, as of CT slices, are not asked for.
    """
    listed: list[ListedInstance] = []
    unwanted: Counter[str] = Counter()
    seen = set()
    for text in series:
        uid = text("SeriesInstanceUID")
        if uid in seen or not is_valid_uid(uid) or text("StudyInstanceUID") not in ("", study):
            continue
        seen.add(uid)
        modality = text("Modality")
        if reason := unwanted_reason("", modality):
            unwanted[reason] += 1
            continue
        availability = Availability.of(text("InstanceAvailability"))
        for instance in ask_instances(uid):
            sop = instance("SOPInstanceUID")
            is_other = instance("SeriesInstanceUID") not in ("", uid) or instance(
                "StudyInstanceUID"
            ) not in ("", study)
            if is_other or not is_valid_uid(sop):
                continue
            sop_class = instance("SOPClassUID")
            listed.append(
                ListedInstance(
                    sop,
                    sop_class if is_valid_uid(sop_class) else "",
                    uid,
                    modality,
                    Availability.of(instance("InstanceAvailability")) or availability,
                )
            )
    return sort_out(listed, unwanted) if seen else None

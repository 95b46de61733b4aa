"""What a study's page shows of films beside the study's own ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from api.studies import StudyRecord
from api.viewer.image_display import display_address
from records.database.tables import Instance, Study
from records.reports.earlier_studies import list_earlier_studies
from records.settings import settings
from records.workflow import drafts

EARLIER_STUDIES = 3
"""Earlier studies whose films are offered beside those of a study."""


@dataclass(frozen=True, slots=True)
class EarlierFilm:
    """A film of an earlier study. position: frontal, lateral or "", as a draft of it says."""

    instance: Instance
    position: str


@dataclass(frozen=True, slots=True)
class EarlierFilms:
    """An earlier study of the patient and its films."""

    study: Study
    films: Sequence[EarlierFilm]


@dataclass(frozen=True, slots=True)
class StudyFilms:
    """What a page shows beside a study's own films.

    Attributes:
        earlier: earlier studies of the patient, newest first.
        image_display: the address at which the site's own viewer shows the study; "" for none.
    """

    earlier: Sequence[EarlierFilms]
    image_display: str


def show_films(session: Session, record: StudyRecord) -> StudyFilms:
    """Read what is shown beside a study's own films; earlier studies are noted as looked at."""
    row = record.row
    earlier = []
    for prior in list_earlier_studies(session, row.id, EARLIER_STUDIES):
        positions: dict[str, str] = {}
        for draft in drafts.list_by_study(session, prior.study.id)[:1]:
            positions = {view["sop_instance_uid"]: view["position"] for view in draft.views}
        films = [
            EarlierFilm(film, _known(positions.get(film.sop_instance_uid, "")))
            for film in prior.films
        ]
        earlier.append(EarlierFilms(prior.study, films))
    address = display_address(
        settings().image_display_url, row.study_instance_uid, row.accession_number
    )
    return StudyFilms(earlier, address)


def _known(position: str) -> str:
    return "" if position == "unknown" else position

"""REST of films: a film's samples and its picture, and what is shown beside a study's own films."""

from __future__ import annotations

import uuid
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from api.problems import problem_responses
from api.schemas import StudyUid
from api.viewer import films, pictures
from api.viewer.image_display import display_address
from api.viewer.schemas import EarlierFilms, FilmsBeside
from api.viewer.study_films import EARLIER_STUDIES
from records.database.session import snapshot
from records.reports.earlier_studies import list_earlier_studies
from records.settings import settings
from records.workflow import studies

router = APIRouter(prefix="/api/studies/{uid}", tags=["films"])

_BYTES = {"schema": {"type": "string", "contentMediaType": "application/octet-stream"}}


def _file(media_type: str) -> dict[int | str, dict[str, Any]]:
    return {200: {"content": {media_type: _BYTES}}}


@router.get("/films", responses=problem_responses(404))
def list_films_beside(uid: StudyUid) -> FilmsBeside:
    """Earlier studies of the patient with their films, and the address of the site's own viewer.

    The study's own films are the `instances` of `GET /api/studies/{uid}`.
    """
    with snapshot() as session:
        study = studies.get_by_uid(session, uid)
        earlier = list_earlier_studies(session, study.id, EARLIER_STUDIES)
        return FilmsBeside(
            image_display=display_address(
                settings().image_display_url, study.study_instance_uid, study.accession_number
            ),
            earlier=[EarlierFilms.from_study(one) for one in earlier],
        )


@router.get(
    "/instances/{instance}/pixels",
    response_class=Response,
    responses=problem_responses(404, 410) | _file(films.MEDIA_TYPE),
)
def read_pixels(request: Request, uid: StudyUid, instance: uuid.UUID) -> Response:
    """All samples of a film, lossless; `model/dicom/film_format.py` says how they are packed."""
    return films.pixels(request, _id_of(uid), instance)


@router.get(
    "/instances/{instance}/picture",
    response_class=Response,
    responses=problem_responses(404, 410) | _file("image/jpeg"),
)
def read_picture(request: Request, uid: StudyUid, instance: uuid.UUID) -> Response:
    """A film as a small JPEG, for orientation and not for diagnosis."""
    return pictures.view(request, _id_of(uid), instance)


def _id_of(uid: str) -> uuid.UUID:
    with snapshot() as session:
        return studies.get_by_uid(session, uid).id

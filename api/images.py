"""A film as a picture for the review page, made when it is asked for and kept nowhere.

Knows blobs and pixels; knows no drafts. For orientation beside a draft, not for diagnosis.
"""

from __future__ import annotations

import io
import threading
import uuid

from fastapi import APIRouter, Request
from fastapi.responses import Response
from PIL import Image

from model.dicom.pixels import display_pixels
from records.blobs import Blobs
from records.database.session import unit_of_work
from records.errors import NotFound
from records.states import InstanceState
from records.workflow import studies

router = APIRouter(include_in_schema=False)

LONGEST = 1024
"""Pixels of the longer side."""

_DECODING = threading.BoundedSemaphore(2)
"""A large film takes some 100 MB while it is decoded; a page asks for several at once."""


@router.get("/studies/{study}/views/{instance}.png")
def view(request: Request, study: uuid.UUID, instance: uuid.UUID) -> Response:
    """One film of a study as PNG.

    Raises:
        NotFound: the study has no such film. What is kept aside, which may be another patient's,
            is none.
        PixelError: its pixels cannot be read.
    """
    with unit_of_work() as session:
        films = studies.list_instances(session, study, InstanceState.KEPT)
    blob = next((film.blob for film in films if film.id == instance), None)
    if blob is None:
        raise NotFound("the study has no such film")
    path = Blobs(request.app.state.settings.data_dir).path(blob)
    if not path.is_file():
        raise NotFound("the film's bytes are gone from the data folder")
    out = io.BytesIO()
    with _DECODING:
        # Level 1: half the time of the default for a tenth more bytes, and the wire is local.
        Image.fromarray(display_pixels(path, LONGEST)).save(out, "PNG", compress_level=1)
    return Response(out.getvalue(), media_type="image/png")

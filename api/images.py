"""Serves an image as PNG for the study page; it is made on request and kept nowhere.

The picture is for orientation beside a draft, not for diagnosis.
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

LONGER_SIDE = 1024
"""Pixels of the picture's longer side."""

_DECODERS = threading.BoundedSemaphore(2)
"""A large image takes some 100 MB while it is decoded, and a page asks for several at once."""


@router.get("/studies/{study}/views/{instance}.png")
def view(request: Request, study: uuid.UUID, instance: uuid.UUID) -> Response:
    """One image of a study as PNG.

    Raises:
        NotFound: the study has no such image. An object that is kept aside counts as none, because
            it may be another patient's.
        PixelError: its pixels cannot be read.
    """
    with unit_of_work() as session:
        instances = studies.list_instances(session, study, InstanceState.KEPT)
    blob = next((row.blob for row in instances if row.id == instance), None)
    if blob is None:
        raise NotFound("the study has no such film")
    path = Blobs(request.app.state.settings.data_dir).path(blob)
    if not path.is_file():
        raise NotFound("the film's bytes are gone from the data folder")
    png = io.BytesIO()
    with _DECODERS:
        # Level 1: half the time of the default for a tenth more bytes, and the wire is local.
        Image.fromarray(display_pixels(path, LONGER_SIDE)).save(png, "PNG", compress_level=1)
    return Response(png.getvalue(), media_type="image/png")

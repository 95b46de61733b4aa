"""Serves the picture of an image for the study page.

The picture is kept when the study is prepared. One that is not kept yet is made by a child process
with limits, for this process never decodes what came from outside. A picture is made only of a file
that is, byte for byte, what was received, and a file never changes under its key, so a kept picture
is right. It is for orientation beside a draft, not for diagnosis.
"""

from __future__ import annotations

import contextlib
import threading
import uuid

from fastapi import APIRouter, Request
from fastapi.responses import Response

from model.dicom.image_process import shared_process
from model.errors import DecoderUnavailable
from records.blobs import Blobs
from records.database.session import unit_of_work
from records.database.tables import Instance
from records.errors import DiskFull, FilmDamaged, FilmRemoved, NotFound, PartError
from records.operations import scrub
from records.settings import Settings
from records.states import BYTES_REMOVED_SENTENCE, DAMAGE_SENTENCES, InstanceState
from records.workflow import studies

router = APIRouter(include_in_schema=False)

LONGER_SIDE = 1024
"""Pixels of the picture's longer side."""

_VIEW_SIDE = 224  # decides by how much a codec may reduce the image, as for the networks in use

_WAITING = threading.BoundedSemaphore(6)
"""Requests that may wait for the child. Each holds a thread of the server, and the pages need some,
too."""


@router.get("/studies/{study}/views/{instance}.jpg")
def view(request: Request, study: uuid.UUID, instance: uuid.UUID) -> Response:
    """One image of a study as JPEG.

    Raises:
        NotFound: the study has no such image. An object that is kept aside counts as none, because
            it may be another patient's.
        FilmRemoved: retention removed its file.
        FilmDamaged: its file is gone or is not what was received any more, which is noted.
        PixelError: its pixels cannot be read.
        PartError: the picture must be made, and too many others are being made, or the disk cannot
            be read.
    """
    with unit_of_work() as session:
        instances = studies.list_instances(session, study, InstanceState.KEPT)
    film = next((row for row in instances if row.id == instance), None)
    if film is None:
        raise NotFound("the study has no such film")
    if film.bytes_removed_at is not None:
        raise FilmRemoved(BYTES_REMOVED_SENTENCE)
    blobs = Blobs(request.app.state.settings.data_dir)
    picture = blobs.read_picture(film.blob)
    if picture is None:
        picture = _make_picture(blobs, film, request.app.state.settings)
        with contextlib.suppress(DiskFull, OSError):  # it is made again at the next look
            blobs.write_picture(film.blob, picture)
    return Response(picture, media_type="image/jpeg")


def _make_picture(blobs: Blobs, film: Instance, settings: Settings) -> bytes:
    if not _WAITING.acquire(blocking=False):
        raise PartError("the pictures of other films are being made; load the page again")
    try:
        if harm := scrub.check(blobs, film):
            raise FilmDamaged(DAMAGE_SENTENCES[harm])
        process = shared_process(settings.decode_memory_mb, settings.decode_seconds)
        path = blobs.path(film.blob)
        return process.read(path, _VIEW_SIDE, picture_side=LONGER_SIDE).picture
    except DecoderUnavailable as error:
        raise PartError(str(error)) from None
    except OSError as error:
        raise PartError(f"the data folder cannot be read ({error.strerror})") from None
    finally:
        _WAITING.release()

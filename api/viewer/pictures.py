"""Serves the picture of a film: a small JPEG, for orientation beside a draft and not for diagnosis.

The picture is kept when the study is prepared. One that is not kept yet is made at the first look.
"""

from __future__ import annotations

import contextlib
import uuid

from fastapi import APIRouter, Request
from fastapi.responses import Response

from api.viewer.stored_films import find_film, read_in_child
from records.blobs import Blobs
from records.errors import DiskFull

router = APIRouter(include_in_schema=False)

LONGER_SIDE = 1024
"""Pixels of the picture's longer side."""

_VIEW_SIDE = 224  # decides by how much a codec may reduce the image, as for the networks in use


@router.get("/studies/{study}/views/{instance}.jpg")
def view(request: Request, study: uuid.UUID, instance: uuid.UUID) -> Response:
    """One image of a study as JPEG.

    Raises:
        NotFound, FilmRemoved: as `find_film`.
        FilmDamaged, PixelError, PartError: as `read_in_child`, where the picture must be made.
    """
    film = find_film(study, instance)
    settings = request.app.state.settings
    blobs = Blobs(settings.data_dir)
    picture = blobs.read_picture(film.blob)
    if picture is None:
        picture = read_in_child(
            blobs,
            film,
            settings,
            lambda child, path: child.read(path, _VIEW_SIDE, picture_side=LONGER_SIDE).picture,
        )
        with contextlib.suppress(DiskFull, OSError):  # it is made again at the next look
            blobs.write_picture(film.blob, picture)
    return Response(picture, media_type="image/jpeg")

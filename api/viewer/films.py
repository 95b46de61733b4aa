"""Serves the pixels of a film for the viewer: its own resolution and depth, lossless.

`model.dicom.film_format` describes the format. The first look at a film makes it and keeps it
beside the film's picture, compressed as it is sent.
"""

from __future__ import annotations

import contextlib
import uuid
import zlib

from fastapi import APIRouter, Request
from fastapi.responses import Response

from api.viewer.stored_films import find_film, read_in_child
from model.dicom.film_pixels import MAX_SIDE
from records.blobs import Blobs
from records.errors import DiskFull

router = APIRouter(include_in_schema=False)

MEDIA_TYPE = "application/vnd.nightdraft.film"
_GZIP = 16 + zlib.MAX_WBITS


@router.get("/studies/{study}/instances/{instance}/pixels")
def pixels(request: Request, study: uuid.UUID, instance: uuid.UUID) -> Response:
    """The pixels of one film of a study.

    Raises:
        NotFound, FilmRemoved: as `find_film`.
        FilmDamaged, PixelError, PartError: as `read_in_child`, where the film must be made.
    """
    film = find_film(study, instance)
    settings = request.app.state.settings
    blobs = Blobs(settings.data_dir)
    packed = blobs.read_film(film.blob)
    if packed is None:
        packed = read_in_child(
            blobs, film, settings, lambda child, path: child.read_film(path, MAX_SIDE)
        )
        with contextlib.suppress(DiskFull, OSError):  # it is made again at the next look
            blobs.write_film(film.blob, packed)
    headers = {"vary": "accept-encoding"}
    if _takes_gzip(request.headers.get("accept-encoding", "")):
        headers["content-encoding"] = "gzip"
    else:
        packed = zlib.decompress(packed, _GZIP)
    return Response(packed, media_type=MEDIA_TYPE, headers=headers)


def _takes_gzip(accepted: str) -> bool:
    """Whether an Accept-Encoding allows gzip (RFC 9110, 12.5.3)."""
    weights: dict[str, float] = {}
    for entry in accepted.casefold().split(","):
        name, *parameters = (part.strip() for part in entry.split(";"))
        weight = next((p[2:] for p in parameters if p.startswith("q=")), "1")
        try:
            weights[name] = float(weight)
        except ValueError:
            weights[name] = 0.0
    return weights.get("gzip", weights.get("*", 0.0)) > 0

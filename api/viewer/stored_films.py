"""Finds the file of a film, and has it decoded by the child process that pages use.

This process never decodes what came from outside. A picture or a film is made only of a file that
is, byte for byte, what was received, and a file never changes under its key, so what is kept of it
is right.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from pathlib import Path

from api.readers import account_id
from model.dicom.image_process import ImageProcess, shared_process
from model.errors import DecoderUnavailable
from records.blobs import Blobs
from records.database.session import unit_of_work
from records.database.tables import Instance
from records.errors import FilmDamaged, FilmRemoved, NotFound, PartError
from records.operations import scrub
from records.reviews import readings
from records.settings import Settings
from records.states import BYTES_REMOVED_SENTENCE, DAMAGE_SENTENCES, InstanceState
from records.workflow import studies

_WAITING = threading.BoundedSemaphore(6)
"""Requests that may wait for the child. Each holds a thread of the server, and the pages need some,
too."""


def find_film(study: uuid.UUID, instance: uuid.UUID) -> Instance:
    """Return a film of a study whose file is there; that it is looked at is noted in a reading.

    Raises:
        NotFound: the study has no such film. An object that is kept aside counts as none, because
            it may be another patient's.
        FilmRemoved: retention removed its file.
    """
    with unit_of_work() as session:
        instances = studies.list_instances(session, study, InstanceState.KEPT)
        if (account := account_id()) is not None:
            readings.note_films(session, study, account)
    film = next((row for row in instances if row.id == instance), None)
    if film is None:
        raise NotFound("the study has no such film")
    if film.bytes_removed_at is not None:
        raise FilmRemoved(BYTES_REMOVED_SENTENCE)
    return film


def read_in_child(
    blobs: Blobs, film: Instance, settings: Settings, read: Callable[[ImageProcess, Path], bytes]
) -> bytes:
    """Let the child make something of a film's file.

    Args:
        blobs: the data folder.
        film: the film.
        settings: the limits of decoding.
        read: asks the child about the file.

    Raises:
        FilmDamaged: its file is gone or is not what was received any more, which is noted.
        PixelError: its pixels cannot be read.
        PartError: too many others are being read, or the disk cannot be read.
    """
    if not _WAITING.acquire(blocking=False):
        raise PartError("the pictures of other films are being made; load the page again")
    try:
        if harm := scrub.check(blobs, film):
            raise FilmDamaged(DAMAGE_SENTENCES[harm])
        process = shared_process(settings.decode_memory_mb, settings.decode_seconds)
        return read(process, blobs.path(film.blob))
    except DecoderUnavailable as error:
        raise PartError(str(error)) from None
    except OSError as error:
        raise PartError(f"the data folder cannot be read ({error.strerror})") from None
    finally:
        _WAITING.release()

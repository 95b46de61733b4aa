"""Compares films that came in two encodings, pixel by pixel, so that the listener decodes none."""

from __future__ import annotations

from collections.abc import Callable

from model.dicom.image_process import shared_process
from model.errors import DecoderUnavailable, PixelError
from records.blobs import Blobs
from records.database.session import unit_of_work
from records.errors import PartError
from records.settings import settings
from records.states import Comparison
from records.telemetry import logger
from records.workflow import studies

MAX_COMPARISONS = 3
"""A film on which so many comparisons died is taken for another image: a person looks at it."""


def compare_waiting(is_stopping: Callable[[], bool] = lambda: False) -> int:
    """Compare every film that waits for it with the one that counts under its UID.

    Returns:
        How many were compared.

    Raises:
        PartError: the disk failed.
    """
    blobs = Blobs(settings().data_dir)
    count = 0
    while not is_stopping():
        with unit_of_work() as session:
            film = studies.claim_uncompared(session, MAX_COMPARISONS)
            standing = studies.find_standing(session, film) if film else None
        if film is None:
            break
        comparison = Comparison.OTHER
        if standing is not None:
            comparison = _compare(blobs, standing.blob, film.blob)
        with unit_of_work() as session:
            superfluous = studies.settle_comparison(session, film.id, comparison)
        if superfluous is not None:
            blobs.remove(superfluous)
        logger().info("a film was compared", study=str(film.study_id), outcome=comparison.value)
        count += 1
    return count


def _compare(blobs: Blobs, standing: str, newer: str) -> Comparison:
    config = settings()
    try:
        compared = shared_process(config.decode_memory_mb, config.decode_seconds).compare(
            blobs.path(standing), blobs.path(newer)
        )
    except DecoderUnavailable as error:
        raise PartError(str(error)) from None
    except PixelError as error:
        if isinstance(error.__cause__, OSError) and not isinstance(
            error.__cause__, FileNotFoundError
        ):
            raise PartError("the data folder cannot be read") from None
        # What cannot be read cannot be shown to be the same.
        return Comparison.OTHER
    return Comparison(compared.value)

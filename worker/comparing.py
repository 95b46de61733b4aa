"""Compares films that came in two encodings, pixel by pixel, so that the listener decodes none."""

from __future__ import annotations

from collections.abc import Callable

from model.dicom.image_process import shared_process
from model.errors import DecoderUnavailable, PixelError
from records.blobs import Blobs
from records.database.session import unit_of_work
from records.database.tables import Instance
from records.errors import PartError
from records.operations import scrub
from records.orders import effects
from records.settings import settings
from records.states import DAMAGE_SENTENCES, Comparison
from records.telemetry import logger
from records.workflow import pixel_comparisons
from records.workflow.withdrawals import lock_study

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
            film = pixel_comparisons.claim_uncompared(session, MAX_COMPARISONS)
            standing = pixel_comparisons.find_standing(session, film) if film else None
        if film is None:
            break
        comparison, problem = Comparison.OTHER, ""
        if standing is not None:
            comparison, problem = _compare(blobs, standing, film)
        with unit_of_work() as session:
            superfluous = pixel_comparisons.settle_comparison(session, film.id, comparison, problem)
            if comparison in (Comparison.SHOWN, Comparison.DESCRIBED):
                # Patient or accession number may be another one now.
                effects.match_and_apply(session, lock_study(session, film.study_id))
        if superfluous is not None:
            blobs.remove(superfluous)
        logger().info("a film was compared", study=str(film.study_id), outcome=comparison.value)
        count += 1
    return count


def _compare(blobs: Blobs, standing: Instance, film: Instance) -> tuple[Comparison, str]:
    """Compare a film with the one that counts.

    Returns:
        How it differs, and why that could not be found out. What cannot be read cannot be shown to
        be the same, so a person decides.

    Raises:
        PartError: the disk failed, or the child cannot work.
    """
    config = settings()
    try:
        for instance in (standing, film):
            if harm := scrub.check(blobs, instance):
                return _not_comparable(DAMAGE_SENTENCES[harm])
        compared = shared_process(config.decode_memory_mb, config.decode_seconds).compare(
            blobs.path(standing.blob), blobs.path(film.blob)
        )
    except DecoderUnavailable as error:
        raise PartError(str(error)) from None
    except OSError:
        raise PartError("the data folder cannot be read") from None
    except PixelError as error:
        if isinstance(error.__cause__, OSError):
            raise PartError("the data folder cannot be read") from None
        return _not_comparable(str(error))
    return Comparison(compared.value), ""


def _not_comparable(why: str) -> tuple[Comparison, str]:
    return Comparison.OTHER, f"Its pixels could not be compared: {why.rstrip('.')}"

"""Studies of drawn films with any pixels and header, for tests of the viewer."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from records.blobs import Blobs, data_set_sha256
from records.database.session import unit_of_work
from records.workflow import registrations, studies
from tests.support.dicom_images import EXPLICIT, write_image
from tests.support.registered_studies import PATIENT, new_instance

EARLIER = {"study": "1.2.9", "accession_number": "A0", "study_date": "20250301"}
"""What makes a film one of an earlier study of the same patient."""


def noisy_chest(rows: int, columns: int, bits: int = 12) -> NDArray[np.uint16]:
    """Return waves that use the whole range, with noise, so that no two places look alike."""
    y, x = np.mgrid[0:rows, 0:columns]
    wave = (np.sin(5 * x / columns) + np.cos(7 * y / rows) + 2) / 4
    noisy = wave + np.random.default_rng(7).normal(0, 0.03, wave.shape)
    share = (noisy - noisy.min()) / np.ptp(noisy)
    return np.rint(share * (2**bits - 1)).astype(np.uint16)


def store_film(
    data_dir: Path,
    samples: NDArray[Any] | bytes,
    syntax: str = EXPLICIT,
    row: dict[str, Any] | None = None,
    **tags: Any,
) -> tuple[uuid.UUID, uuid.UUID]:
    """Write a film and register it as received.

    Args:
        data_dir: the data folder.
        samples: the pixels, or an encoded image.
        syntax: the transfer syntax.
        row: fields of the row that differ from `new_instance`.
        tags: elements of the header.

    Returns:
        Our ids of the study and of the instance.
    """
    blobs = Blobs(data_dir)
    blobs.make_folders()
    file = write_image(blobs.incoming / f"{uuid.uuid4().hex}.part", samples, syntax, **tags)
    received = new_instance(
        blob=blobs.keep_instance(file),
        sha256=data_set_sha256(file),
        size=file.stat().st_size,
        **({"patient": PATIENT} | (row or {})),
    )
    file.unlink()
    with unit_of_work() as session:
        study = registrations.register_instance(session, received).study_id
        (instance,) = (
            one.id
            for one in studies.list_instances(session, study)
            if one.sop_instance_uid == received.sop_instance_uid
        )
    return study, instance

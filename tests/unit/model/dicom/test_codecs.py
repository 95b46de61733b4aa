"""Every codec against float64 arithmetic: any image, any sign, any grey scale."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from model.dicom.pixels import view_pixels
from model.manifest import PREPROCESSING
from tests.support.dicom_images import (
    EXPLICIT,
    chest,
    encode_all,
    lut_item,
    resize_exactly,
    write_image,
)

JPEG_2000 = "1.2.840.10008.1.2.4.90"
RLE = "1.2.840.10008.1.2.5"


def in_every_codec(values: NDArray[np.int64], bits: int, signed: bool) -> dict[str, Any]:
    """Return samples or a codestream of the values, by transfer syntax."""
    kind, patterns = (np.int16 if signed else np.uint16), values & (2**bits - 1)
    streams: dict[str, Any] = {EXPLICIT: values.astype(kind)}
    streams |= {
        name: bytes(data) for name, data in encode_all(patterns.astype(np.uint16), bits).items()
    }
    if signed:  # as its encoders do, a sign and all bits
        streams[JPEG_2000] = bytes(
            imagecodecs.jpeg2k_encode(
                values.astype(kind), level=0, codecformat="j2k", reversible=True, bitspersample=16
            )
        )
    return streams


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(
    bits=st.integers(9, 16), signed=st.booleans(), inverted=st.booleans(),
    function=st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID", "LUT"]),
    centre=st.floats(0.4, 0.6), width=st.floats(0.5, 1.5), noise=st.floats(0, 0.01),
    rows=st.integers(200, 260), columns=st.integers(200, 260),
)  # fmt: skip
def test_every_codec_agrees_with_float64(
    bits: int, signed: bool, inverted: bool, function: str, centre: float, width: float,
    noise: float, rows: int, columns: int,
) -> None:  # fmt: skip
    """JPEG 2000 is decoded at a quarter or a half of its sides."""
    white, low = 2**bits - 1, -(2 ** (bits - 1)) if signed else 0
    drawn = chest(bits, side=260)[:rows, :columns] * 0.9 + 0.05 * white
    drawn += np.random.default_rng(0).normal(0, noise * white, drawn.shape)
    values = np.rint(np.clip(drawn, 0, white)).astype(np.int64) + low
    c, w = round(low + centre * white, 2), round(width * white, 2)
    tags: dict[str, Any] = {"WindowCenter": c, "WindowWidth": w, "VOILUTFunction": function}
    if function == "LUT":
        curve = np.rint(4095 * np.linspace(0, 1, 2**bits) ** (0.5 + width)).astype(int)
        tags = {"VOILUTSequence": [lut_item(max(low, -32768), 12, curve.tolist(), signed)]}
        share = curve[np.clip(values - low, 0, len(curve) - 1)] / 4095
    elif function == "SIGMOID":
        share = 1 / (1 + np.exp(-4 * (values - c) / w))
    elif function == "LINEAR":
        share = (values - (c - 0.5)) / (w - 1) + 0.5
    else:
        share = (values - c) / w + 0.5
    size = 40
    exact = resize_exactly(1 - share if inverted else share, size)
    with tempfile.TemporaryDirectory() as folder:
        for syntax, data in in_every_codec(values, bits, signed).items():
            path = write_image(
                Path(folder) / "image.dcm", data, syntax, Rows=rows, Columns=columns,
                BitsStored=bits, PixelRepresentation=int(signed),
                PhotometricInterpretation="MONOCHROME1" if inverted else "MONOCHROME2", **tags,
            )  # fmt: skip
            error = np.abs(view_pixels(path, size) - exact)
            # Real images differ by less than 0.3; this one is a tenth as wide, ten times as sharp.
            assert error.mean() < (0.75 if syntax == JPEG_2000 else 0.3), syntax
            assert error.max() <= 2 or syntax == JPEG_2000, syntax


def test_preprocessing_has_a_new_name_when_it_gives_another_view(
    tmp_path: Path,
) -> None:
    """Prepared inputs and drafts carry the name, so a change of the hash needs a new name."""
    y, x = np.mgrid[0:500, 0:640]
    samples = ((y * 5 + x * 3 + (y * x // 7) % 400) % 4096).astype(np.uint16)
    streams = {EXPLICIT: samples, JPEG_2000: bytes(encode_all(samples, 12)[JPEG_2000])}
    digest = hashlib.sha256()
    for syntax, data in streams.items():
        path = write_image(
            tmp_path / "image.dcm", data, syntax, Rows=500, Columns=640, BitsStored=12,
            WindowCenter=2000, WindowWidth=3000,
        )  # fmt: skip
        for size in (40, 112):
            digest.update(view_pixels(path, size).tobytes())
    assert (PREPROCESSING, digest.hexdigest()[:16]) == ("nightdraft-film-3", "f52921ffcf9ffbf0")

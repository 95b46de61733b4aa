"""The reduced image inside a codestream, against the wavelet's arithmetic and Pillow's decoder."""

from __future__ import annotations

import io
import struct
from typing import Any

import imagecodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile

from model.dicom.jpeg2000 import reduce_codestream


def noisy(rows: int, columns: int, bits: int = 12, seed: int = 0) -> NDArray[np.uint16]:
    """Half smooth, half noise: every wavelet has something to do."""
    y, x = np.mgrid[0:rows, 0:columns]
    wave = (np.sin(x / 9) * np.cos(y / 13) + 1) / 4
    share = wave + np.random.default_rng(seed).uniform(0, 0.5, wave.shape)
    return np.asarray(share * (2**bits - 1), np.uint16)


def low_pass(samples: NDArray[np.int64]) -> NDArray[np.int64]:
    """The reversible 5/3 low-pass band along the first axis (ISO 15444-1 F.4.8.1)."""
    if len(samples) == 1:
        return samples
    even_samples, odd_samples = samples[0::2], samples[1::2]
    after = (
        even_samples[1:]
        if len(even_samples) > len(odd_samples)
        else np.concatenate([even_samples[1:], even_samples[-1:]])
    )
    high = odd_samples - (even_samples[: len(odd_samples)] + after[: len(odd_samples)]) // 2
    before = np.concatenate([high[:1], high])[: len(even_samples)]
    behind = np.concatenate([high, high[-1:]])[: len(even_samples)]
    return np.asarray(even_samples + (before + behind + 2) // 4)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(65, 130), columns=st.integers(65, 130), halvings=st.integers(1, 3),
    seed=st.integers(0, 9),
)  # fmt: skip
def test_the_reduced_image_is_the_low_pass_band(
    rows: int, columns: int, halvings: int, seed: int
) -> None:
    samples = noisy(rows, columns, seed=seed)
    data = imagecodecs.jpeg2k_encode(
        samples, level=0, codecformat="j2k", reversible=True, bitspersample=12, resolutions=4
    )
    reduced = reduce_codestream(data, halvings)
    assert reduced is not None
    expected = samples.astype(np.int64)
    for _ in range(halvings):
        expected = low_pass(low_pass(expected).T).T
    decoded = imagecodecs.jpeg2k_decode(reduced.data)
    assert np.array_equal(decoded, np.clip(expected, 0, 4095))
    assert reduced.lift == pytest.approx((1 - 0.25**halvings) / 12)


def encode_with_pillow(samples: NDArray[np.uint8], **options: Any) -> bytes:
    """Encode with Pillow, which has more options than imagecodecs."""
    file = io.BytesIO()
    Image.fromarray(samples).save(file, "JPEG2000", no_jp2=True, **options)
    return file.getvalue()


def decode_with_pillow(data: bytes, halvings: int) -> NDArray[np.uint8]:
    image = Jpeg2KImageFile(io.BytesIO(data))
    image.reduce = halvings
    image.load()
    return np.asarray(image)


@pytest.mark.parametrize(
    "options",
    [
        {"progression": "LRCP"},
        {"progression": "RLCP", "quality_layers": [40, 10, 1]},
        {"progression": "RPCL", "quality_layers": [40, 10, 1]},
        {"progression": "RPCL", "precinct_size": (64, 64), "codeblock_size": (32, 32)},
        {"tile_size": (64, 64)},
        {"tile_size": (100, 60), "plt": True},
        {"irreversible": True, "quality_layers": [3]},
        {"num_resolutions": 3},
    ],
    ids=str,
)
def test_the_reduced_image_is_what_pillow_decodes(options: dict[str, Any]) -> None:
    data = encode_with_pillow((noisy(204, 320, bits=8)).astype(np.uint8), **options)
    for halvings in (1, 2):
        reduced = reduce_codestream(data, halvings)
        assert reduced is not None
        assert np.array_equal(
            imagecodecs.jpeg2k_decode(reduced.data), decode_with_pillow(data, halvings)
        )
        assert (reduced.lift < 0) == ("irreversible" in options)


@pytest.mark.parametrize(
    "options",
    [
        {"progression": "LRCP", "quality_layers": [40, 10, 1]},
        {"progression": "PCRL"},
        {"progression": "CPRL"},
        {"num_resolutions": 2},
        {"tile_size": (62, 64)},
        {"offset": (8, 8), "tile_offset": (4, 4), "tile_size": (400, 400)},
    ],
    ids=str,
)
def test_a_reduced_image_that_does_not_come_first_is_not_used(options: dict[str, Any]) -> None:
    assert (
        reduce_codestream(
            encode_with_pillow(noisy(204, 320, bits=8).astype(np.uint8), **options), 2
        )
        is None
    )


def test_a_tile_of_its_own_kind_is_not_halved() -> None:
    """A COD in a tile's header, and a length that leads nowhere."""
    data = encode_with_pillow(noisy(204, 320, bits=8).astype(np.uint8))
    cod = data.index(b"\xff\x52")
    own = data[cod : cod + 2 + int.from_bytes(data[cod + 2 : cod + 4])]
    sot = data.index(b"\xff\x90")
    length = struct.unpack_from(">I", data, sot + 6)[0]

    def with_length(value: int, extra: bytes = b"") -> bytes:
        head = data[: sot + 6] + struct.pack(">I", value) + data[sot + 10 : sot + 12]
        return head + extra + data[sot + 12 :]

    assert reduce_codestream(with_length(length), 1) is not None
    assert reduce_codestream(with_length(0), 1) is not None  # to the end
    assert reduce_codestream(with_length(length + len(own), own), 1) is None
    for wrong in (1, 13, length - 1, length + 1, 2**32 - 1):
        assert reduce_codestream(with_length(wrong), 1) is None


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_damage_is_never_an_error(data: st.DataObject) -> None:
    codestream = bytearray(encode_with_pillow(noisy(64, 64, bits=8).astype(np.uint8), plt=True))
    for _ in range(data.draw(st.integers(0, 4))):
        codestream[data.draw(st.integers(40, 160))] = data.draw(st.integers(0, 255))
    length = data.draw(st.integers(45, len(codestream)))
    reduced = reduce_codestream(bytes(codestream[:length]), 2)
    assert reduced is None or len(reduced.data) <= length

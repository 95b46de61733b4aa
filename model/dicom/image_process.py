"""Reads images in a child process that has limits of memory and of processor time.

Whatever comes from outside is decoded there. A file that makes a decoder allocate gigabytes, loop
or crash ends the child and nothing else; the next image gets a new one. The child is used again for
image after image, since starting it takes about a second. Answers come back through a pipe.

`python -m model.dicom.image_process MEGABYTES SECONDS` is the child: it reads a request from each
line of its standard input, and ends when that is closed, as it is when its parent ends.
"""

from __future__ import annotations

import atexit
import io
import json
import os
import resource
import select
import signal
import struct
import subprocess
import sys
import threading
import time
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from model.dicom.comparison import Comparison, compare_objects
from model.dicom.film_format import pack
from model.dicom.film_pixels import read_film
from model.dicom.pixels import render
from model.errors import DecoderUnavailable, DecodingLimit, HeaderLimit, NoPixels, PixelError

PATIENCE = 6
"""How many times its processor time an image may take by the clock, on a machine that is busy."""

LEAST_PATIENCE = 60.0
"""Seconds by the clock that every image may take. The child starts within them."""

JPEG_QUALITY = 85
_ERRORS = {error.__name__: error for error in (DecodingLimit, HeaderLimit, NoPixels, PixelError)}
_GZIP = 16 + zlib.MAX_WBITS
_NEAR_LIMIT = 0.9  # of the memory limit: a decoder that failed there failed for lack of memory


@dataclass(frozen=True, slots=True)
class ImageReading:
    """An image as the network reads it, and as a page shows it.

    Attributes:
        view: (size, size) uint8.
        picture: A JPEG of the whole image, or b"" where none was asked for.
        notes: Sentences for the reader of a draft.
        is_empty: Whether the view shows nothing.
    """

    view: NDArray[np.uint8]
    picture: bytes
    notes: tuple[str, ...]
    is_empty: bool


class ImageProcess:
    """A child process that reads one image at a time; safe to use from several threads.

    Args:
        memory_mb: Limit of the child's address space, in MB.
        seconds: Limit of the processor time for one image.
    """

    def __init__(self, memory_mb: int, seconds: float) -> None:
        self._memory_mb = memory_mb
        self._seconds = seconds
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None

    def read(
        self, path: Path, size: int, resize: str = "square", picture_side: int = 0
    ) -> ImageReading:
        """Read the image in a file.

        Args:
            path: The DICOM file.
            size: The sides of the view in pixels.
            resize: One of `model.dicom.pixels.RESIZES`.
            picture_side: Most pixels of the picture's longer side; 0 makes no picture.

        Raises:
            DecodingLimit: It takes more memory or time than an image may.
            PixelError: The pixels cannot be read, or the decoder crashes on them. Its cause is the
                OSError of a disk that failed.
            DecoderUnavailable: The child cannot work; the image is not to blame.
        """
        request = {
            "path": os.fspath(path.absolute()),
            "size": size,
            "resize": resize,
            "picture_side": picture_side,
        }
        answer = self._answer_of(request)
        view = np.frombuffer(answer.view, np.uint8).reshape(size, size)
        header = answer.header
        return ImageReading(view, answer.picture, tuple(header["notes"]), header["is_empty"])

    def compare(self, first: Path, second: Path) -> Comparison:
        """Compare two files as `compare_objects` does, with their pixels decoded in the child.

        Raises:
            DecodingLimit, PixelError, DecoderUnavailable: As `read`.
        """
        files = [os.fspath(path.absolute()) for path in (first, second)]
        return Comparison(self._answer_of({"compare": files}).header["comparison"])

    def _answer_of(self, request: dict[str, Any]) -> _Answer:
        """Return the child's answer; an error of its own is raised here, as `read` says."""
        with self._lock:
            answer = self._ask(request)
            if answer is None:
                # Somebody else may have ended the child, so the image gets another one.
                answer = self._ask(request)
        if answer is None:
            raise PixelError("Decoding the film makes the decoder crash.")
        if "error" in answer.header:
            disk = answer.header.get("disk")
            error = _ERRORS.get(answer.header["error"], PixelError)
            raise error(answer.header["message"]) from (OSError(*disk) if disk else None)
        return answer

    def read_film(self, path: Path, max_side: int) -> bytes:
        """Read the film in a file in its own resolution and depth.

        Args:
            path: The DICOM file.
            max_side: A film with a longer side is reduced.

        Returns:
            The film as `model.dicom.film_format` packs it, compressed as `compress` does.

        Raises:
            DecodingLimit, PixelError, DecoderUnavailable: As `read`.
        """
        request = {"film": os.fspath(path.absolute()), "max_side": max_side}
        return self._answer_of(request).picture

    def close(self) -> None:
        """End the child; the next image starts another one."""
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            child.wait()
            for pipe in (child.stdin, child.stdout):
                if pipe is not None:
                    pipe.close()

    def _ask(self, request: dict[str, Any]) -> _Answer | None:
        """Return the child's answer; None where it crashed."""
        child = self._child
        if child is None or child.poll() is not None:
            self.close()
            child = self._child = _start_child(self._memory_mb, self._seconds)
        assert child.stdin is not None
        assert child.stdout is not None
        patience = max(LEAST_PATIENCE, PATIENCE * self._seconds)
        try:
            child.stdin.write(json.dumps(request).encode() + b"\n")
            child.stdin.flush()
            return _read_answer(child.stdout, time.monotonic() + patience)
        except TimeoutError:
            self.close()
            raise DecoderUnavailable(
                f"a film took more than {patience:g} s: is the disk or the machine overloaded?"
            ) from None
        except (EOFError, BrokenPipeError):
            status = child.wait()
            self.close()
        if status == -signal.SIGPROF:
            raise DecodingLimit(f"Decoding the film takes more than {self._seconds:g} s.")
        if status == -signal.SIGKILL:
            raise DecoderUnavailable(
                "the process that decodes films was killed: is the machine out of memory?"
            )
        return None


_shared: dict[tuple[int, int, float], ImageProcess] = {}
_shared_lock = threading.Lock()


def shared_process(memory_mb: int, seconds: float) -> ImageProcess:
    """Return this process's own ImageProcess with these limits; it is made at the first call."""
    key = (os.getpid(), memory_mb, seconds)  # a fork has not the child of its parent
    with _shared_lock:
        if key not in _shared:
            _shared[key] = ImageProcess(memory_mb, seconds)
            atexit.register(_shared[key].close)
        return _shared[key]


# ---- The pipe: a line of JSON, then the bytes of the view and of the picture or the film ----

_LENGTHS = struct.Struct("<III")


@dataclass(frozen=True, slots=True)
class _Answer:
    header: dict[str, Any]
    view: bytes
    picture: bytes


def _read_answer(pipe: IO[bytes], deadline: float) -> _Answer:
    lengths = _LENGTHS.unpack(_read_exactly(pipe, _LENGTHS.size, deadline))
    header, view, picture = (_read_exactly(pipe, length, deadline) for length in lengths)
    return _Answer(json.loads(header), view, picture)


def _read_exactly(pipe: IO[bytes], length: int, deadline: float) -> bytes:
    """Read from the pipe's descriptor.

    Raises:
        TimeoutError: The deadline came first.
        EOFError: The child has ended.
    """
    content = bytearray()
    poller = select.poll()  # select itself fails for descriptors above 1023
    poller.register(pipe, select.POLLIN | select.POLLHUP)
    while len(content) < length:
        if not poller.poll(1000 * max(0.0, deadline - time.monotonic())):
            raise TimeoutError
        piece = os.read(pipe.fileno(), length - len(content))
        if not piece:
            raise EOFError
        content += piece
    return bytes(content)


def _start_child(memory_mb: int, seconds: float) -> subprocess.Popen[bytes]:
    """Start the child.

    Raises:
        DecoderUnavailable: The system cannot start a process.
    """
    root = str(Path(__file__).parents[2])
    paths = [root, *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    try:
        return subprocess.Popen(
            [sys.executable, "-m", "model.dicom.image_process", str(memory_mb), str(seconds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # Decoders may quote what they read.
            stderr=subprocess.DEVNULL,
            # Threads would each reserve address space, and Ctrl-C is for the parent.
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(filter(None, paths)),
                "MALLOC_ARENA_MAX": "1",
                "OMP_NUM_THREADS": "1",
                "OPENBLAS_NUM_THREADS": "1",
            },
            start_new_session=True,
        )
    except OSError as error:
        raise DecoderUnavailable(
            f"the process that decodes films cannot be started ({error.strerror})"
        ) from None


# ---- The child ----


def _serve(memory_mb: int, seconds: float) -> None:
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # a decoder that prints would break the answers
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    limit = memory_mb << 20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core would hold patients' pixels
    for line in sys.stdin.buffer:
        request = json.loads(line)
        # The kernel ends the process, for no Python code runs while a decoder does.
        signal.setitimer(signal.ITIMER_PROF, seconds)
        header, view, picture = _answer(request, limit)
        signal.setitimer(signal.ITIMER_PROF, 0)
        encoded = json.dumps(header).encode()
        answers.write(_LENGTHS.pack(len(encoded), len(view), len(picture)))
        for part in (encoded, view, picture):
            answers.write(part)
        answers.flush()


def _answer(request: dict[str, Any], limit: int) -> tuple[dict[str, Any], bytes, bytes]:
    lack = f"Decoding the film takes more than {limit >> 20} MB of memory."
    try:
        if "compare" in request:
            first, second = map(Path, request["compare"])
            return {"comparison": compare_objects(first, second, decode=True)}, b"", b""
        if "film" in request:
            return {}, b"", compress(pack(read_film(request["film"], request["max_side"])))
        rendering = render(request["path"], request["size"], request["resize"])
        picture = io.BytesIO()
        if request["picture_side"]:
            rendering.picture(request["picture_side"]).save(picture, "JPEG", quality=JPEG_QUALITY)
    except MemoryError:
        return {"error": "DecodingLimit", "message": lack}, b"", b""
    except PixelError as error:
        if _peak_memory() > _NEAR_LIMIT * limit:
            return {"error": "DecodingLimit", "message": lack}, b"", b""
        cause = error.__cause__
        disk = [cause.errno, cause.strerror] if isinstance(cause, OSError) and cause.errno else None
        return {"error": type(error).__name__, "message": str(error), "disk": disk}, b"", b""
    header = {"notes": rendering.notes, "is_empty": rendering.is_empty}
    return header, rendering.view.tobytes(), picture.getvalue()


def compress(content: bytes) -> bytes:
    """Return a packed film as gzip (RFC 1952), by Huffman codes alone.

    A film's differences have no repeated strings that are worth the search for them: with it the
    film takes twice the time and is not smaller (docs/develop/performance.md).
    """
    compressor = zlib.compressobj(1, zlib.DEFLATED, _GZIP, 9, zlib.Z_HUFFMAN_ONLY)
    return compressor.compress(content) + compressor.flush()


def _peak_memory() -> int:
    """Return the largest address space that this process has had, in bytes; 0 outside Linux."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0
    peak = next(line for line in status.splitlines() if line.startswith("VmPeak:"))
    return int(peak.split()[1]) * 1024


if __name__ == "__main__":
    _serve(int(sys.argv[1]), float(sys.argv[2]))

"""`nightdraft bench viewer`: how long a reader waits for a film, and what its pixels weigh.

A film of 2500 x 3000 pixels and 14 bits is filed in each codec in a database of its own, and asked
for over loopback from a web server in a process of its own: at the first look, when it is decoded
and packed, and from then on, when it is kept. Where Playwright and Chromium are installed, a page
is opened, too, until its film is on the screen. Other ways to pack it are measured beside the one
in use.
"""

from __future__ import annotations

import importlib.util
import tempfile
import time
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from model.dicom.film_format import FilmPixels, pack
from model.dicom.film_pixels import read_film
from model.dicom.image_process import compress
from nightdraft.bench.fresh_database import fresh_database
from nightdraft.bench.machine import machine_facts, summarise
from nightdraft.bench.operation import new_film
from nightdraft.bench.prepare import BITS, COLUMNS, ROWS, draw_film, write_films
from nightdraft.bench.web_server import ask, serving
from records.blobs import Blobs, data_set_sha256
from records.database.session import unit_of_work
from records.database.tables import Instance
from records.settings import settings
from records.workflow import registrations, studies

CHROMIUM = Path("/usr/bin/chromium")
_GZIP = 16 + zlib.MAX_WBITS


def measure(runs: int, log: Callable[[str], None]) -> dict[str, Any]:
    """Run the bench in temporary folders.

    Args:
        runs: Looks at each film, and pages opened; the median and the greatest count.
        log: Gets a line for each step.

    Returns:
        The measurements, as JSON has them.

    Raises:
        PartError: PostgreSQL or the web server does not start.
    """
    with tempfile.TemporaryDirectory(prefix="nightdraft-bench-") as temporary:
        folder = Path(temporary)
        files = write_films(folder / "films", draw_film())
        film = read_film(files["uncompressed"])
        log("ways to pack a film")
        encodings = [_measure_encoding(name, encode(film), runs) for name, encode in _WAYS.items()]
        with fresh_database(serve_port="0", serve_host="127.0.0.1"):
            kept = {codec: _file(path) for codec, path in files.items()}
            with serving(folder) as port:
                codecs = []
                for codec, (study, instance) in kept.items():
                    log(f"{codec}, {runs} looks")
                    path = f"/studies/{study}/instances/{instance}/pixels"
                    first, size = ask(port, path)
                    looks = [ask(port, path)[0] for _ in range(runs)]
                    codecs.append(
                        {
                            "codec": codec,
                            "first_look_ms": round(first, 1),
                            "kept_ms": summarise(looks),
                            "mb": round(size / 1e6, 2),
                        }
                    )
                study = kept["uncompressed"][0]
                log("pages in Chromium" if _has_browser() else "no Chromium: no pages")
                pages = _open_pages(port, study, runs) if _has_browser() else []
    return {
        "film": f"{COLUMNS} x {ROWS}, {BITS} bits",
        "runs": runs,
        "encodings": encodings,
        "codecs": codecs,
        "pages": pages,
        **machine_facts(),
    }


# ---- Ways to pack ----


def _plain(film: FilmPixels) -> bytes:
    return film.samples.astype("<u2").tobytes()


def _packed(film: FilmPixels) -> bytes:
    return pack(replace(film, luts=np.zeros((0, 2**film.header.bits), np.uint16)))


def _zip(content: bytes, level: int) -> bytes:
    compressor = zlib.compressobj(level, zlib.DEFLATED, _GZIP)
    return compressor.compress(content) + compressor.flush()


_WAYS: dict[str, Callable[[FilmPixels], Callable[[], bytes]]] = {
    "plain samples": lambda film: lambda: _plain(film),
    "plain samples, gzip 1": lambda film: lambda: _zip(_plain(film), 1),
    "plain samples, gzip 6": lambda film: lambda: _zip(_plain(film), 6),
    "differences in planes, gzip 1": lambda film: lambda: _zip(_packed(film), 1),
    "differences in planes, gzip 6": lambda film: lambda: _zip(_packed(film), 6),
    "differences in planes, Huffman codes alone (in use)": lambda film: (
        lambda: compress(_packed(film))
    ),
}


def _measure_encoding(name: str, encode: Callable[[], bytes], runs: int) -> dict[str, Any]:
    packing, unpacking = [], []
    content = b""
    for _ in range(min(runs, 5)):
        packing.append(_ms(encode))
        content = encode()
        if content.startswith(b"\x1f\x8b"):
            unpacking.append(_ms(lambda: zlib.decompress(content, _GZIP)))  # noqa: B023
        else:
            unpacking.append(0.0)
    return {
        "way": name,
        "mb": round(len(content) / 1e6, 2),
        "pack_ms": summarise(packing),
        "inflate_ms": summarise(unpacking),
    }


def _ms(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1000


# ---- The server ----


def _file(path: Path) -> tuple[str, str]:
    """File a film as received; return our ids of its study and of it."""
    blobs = Blobs(settings().data_dir)
    blobs.make_folders()
    received = replace(
        new_film(),
        blob=blobs.keep_instance(path),
        sha256=data_set_sha256(path),
        size=path.stat().st_size,
    )
    with unit_of_work() as session:
        study = registrations.register_instance(session, received).study_id
        instances: list[Instance] = list(studies.list_instances(session, study))
        return str(study), str(instances[0].id)


# ---- The browser ----


_MARKS = """() => new Promise(done => {
    const times = () => ["film-asked", "film-shown"].map(
        name => performance.getEntriesByName(name)[0]?.startTime);
    const look = () => times()[1] === undefined ? requestAnimationFrame(look) : done(times());
    look();
})"""


def _has_browser() -> bool:
    return CHROMIUM.exists() and importlib.util.find_spec("playwright") is not None


def _open_pages(port: int, study: str, runs: int) -> list[dict[str, Any]]:
    """Open the study's page by each renderer, as a reader who opens one study after another."""
    from playwright.sync_api import sync_playwright

    pages = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=str(CHROMIUM), args=["--no-sandbox", "--disable-gpu"]
        )
        for renderer in ("webgl2", "2d"):
            asked, opened = [], []
            context = browser.new_context(viewport={"width": 1440, "height": 900})
            for run in range(runs + 1):
                page = context.new_page()
                page.goto(f"http://127.0.0.1:{port}/studies/{study}?renderer={renderer}")
                marks = page.evaluate(_MARKS)
                if run:  # the first one starts parts of the browser, and fetches our own files
                    asked.append(marks[1] - marks[0])
                    opened.append(marks[1])
                page.close()
            context.close()
            pages.append(
                {
                    "renderer": renderer,
                    "film_ms": summarise(asked),
                    "page_ms": summarise(opened),
                }
            )
        browser.close()
    return pages


def render(measured: dict[str, Any]) -> RenderableType:
    """The measurement as tables."""
    ways = _table("way to pack", "MB", "pack, ms", "inflate, ms")
    for row in measured["encodings"]:
        ways.add_row(
            row["way"], f"{row['mb']:.1f}", _both(row["pack_ms"]), _both(row["inflate_ms"])
        )
    codecs = _table("codec", "MB sent", "first look, ms", "kept, ms")
    for row in measured["codecs"]:
        codecs.add_row(
            row["codec"], f"{row['mb']:.1f}", f"{row['first_look_ms']:.0f}", _both(row["kept_ms"])
        )
    pages = _table("renderer", "film asked for to shown, ms", "page asked for to film shown, ms")
    for row in measured["pages"]:
        pages.add_row(row["renderer"], _both(row["film_ms"]), _both(row["page_ms"]))
    note = Text(f"A film of {measured['film']}; median and greatest of {measured['runs']}.", "dim")
    return Group(note, ways, codecs, *([pages] if measured["pages"] else []))


def _table(*columns: str) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left")
    return table


def _both(figures: dict[str, float]) -> str:
    return f"{figures['median']:.0f}, {figures['greatest']:.0f}"

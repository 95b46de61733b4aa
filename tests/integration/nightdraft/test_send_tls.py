"""`nightdraft send --tls`, to DCMTK's storescp."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from nightdraft.cli.main import app
from nightdraft.station.wheels import free_port
from tests.support.certificates import Authority, Issued
from tests.support.dicom_senders import dcmtk_program, make_image, write_part10
from tests.support.waiting import eventually


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def films(tmp_path: Path) -> Path:
    (tmp_path / "films").mkdir()
    write_part10(make_image(), tmp_path / "films/one.dcm")
    return tmp_path / "films"


@contextmanager
def storescp(folder: Path, authority: Authority, own: Issued, *options: str) -> Iterator[int]:
    """A storage SCP of DCMTK over TLS, which wants a certificate; its port."""
    folder.mkdir()
    port = free_port()
    log = folder / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [
                dcmtk_program("storescp"), "+tls", own.key, own.certificate, "+cf", authority.file,
                "-v", *options, "-od", folder, str(port),
            ],
            stdout=out, stderr=out,
        )  # fmt: skip
    try:
        eventually(lambda: _listens(port, process))
        yield port
    finally:
        process.kill()
        process.wait(30)


def _listens(port: int, process: subprocess.Popen[bytes]) -> bool:
    import psutil

    assert process.poll() is None
    found = psutil.Process(process.pid).net_connections()
    return any(one.laddr.port == port and one.status == "LISTEN" for one in found)


def send(folder: Path, port: int, *options: object) -> tuple[int, str]:
    words = ["send", folder, "--host", "localhost", "--port", port, "--called", "ANY", *options]
    done = CliRunner().invoke(app, [str(word) for word in words])
    return done.exit_code, " ".join(f"{done.output} {done.exception or ''}".split())


@pytest.mark.parametrize("profile", ["+py", "+px", "+pz"])
def test_a_film_is_sent_and_every_fault_is_said(
    tmp_path: Path, films: Path, authority: Authority, profile: str,
    setting: Callable[..., None],
) -> None:  # fmt: skip
    setting(data_dir=tmp_path)
    own, ours = authority.issue("storescp", bits=3072), authority.issue("us", bits=3072)
    shown = ("--certificate", ours.certificate, "--key", ours.key)
    trusted = ("--tls", "--ca-file", authority.file)
    with storescp(tmp_path / "received", authority, own, profile) as port:
        assert send(films, port, *trusted, *shown) == (0, "1 sent")
        assert send(films, port, "--tls", "--pin", own.pin, *shown) == (0, "1 sent")
        assert len(list((tmp_path / "received").glob("*1.2.*"))) == 1
        for options, words in (
            ((*trusted,), "certificate"),
            (("--tls", *shown), "of an authority that is not trusted"),
            ((*trusted, *shown, "--server-name", "pacs.example"), "for another name"),
            (("--tls", *shown, "--pin", "0" * 64), "not the pinned one"),
            ((), "localhost port"),
        ):
            status, output = send(films, port, *options)
            assert status == 1, options
            assert words in output, options


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--pin", "0" * 64), "say --tls, too"),
        (("--tls", "--pin", "12"), "--pin: it is no SHA-256"),
        (("--tls", "--ca-file", "/none.pem"), "--ca-file: /none.pem cannot be used"),
        (("--tls", "--certificate", "/none.pem"), "--certificate or --key cannot be used"),
    ],
)
def test_options_that_cannot_be_used_are_named(
    films: Path, setting: Callable[..., None], tmp_path: Path, options: tuple[str, ...], words: str
) -> None:
    setting(data_dir=tmp_path)
    status, output = send(films, 1, *options)
    assert status == 1
    assert words in output

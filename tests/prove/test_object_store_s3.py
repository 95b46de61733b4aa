"""Bundles in a server that speaks S3: moto's. `make prove-extras` installs it first."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import moto.server as moto_server
import pytest
import s3fs

from model.bundling import remote
from model.bundling.transfer import pull, push
from model.errors import BundleError
from model.manifest import MANIFEST, list_files, read_manifest, resolve, write_manifest


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An empty bucket, with the credentials and the address where botocore looks for them."""
    server = moto_server.ThreadedMotoServer(port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    s3fs.S3FileSystem.clear_instance_cache()
    s3fs.S3FileSystem().makedirs("bundles", exist_ok=True)  # moto keeps it for the process
    yield "s3://bundles"
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in (*list_files(folder), MANIFEST)}


@pytest.mark.filterwarnings("default")
def test_a_bundle_is_pushed_replaced_and_pulled(bucket: str, tmp_path: Path) -> None:
    address, out, seen = f"{bucket}/department/ours", tmp_path / "pulled", []
    with pytest.raises(BundleError, match="there is no bundle at"):
        pull(address, out)
    size = push("demo", address, progress=lambda *step: seen.append(step)).copied
    assert ("copying", size, size) in seen
    assert push("demo", address).copied == 0
    assert pull(address, out).copied == size
    assert contents(out) == contents(resolve("demo"))
    (out / "losses.png").unlink()
    write_manifest(out, replace(read_manifest(out), name="other"))
    with pytest.raises(BundleError, match="has another bundle"):
        push(out, address)
    push(out, address, replace=True)
    assert set(remote.open_store(address).list_files()) == {*list_files(out), MANIFEST}
    again = tmp_path / "again"
    pull(address, again)
    assert contents(again) == contents(out)


@pytest.mark.filterwarnings("default")
def test_what_the_server_refuses_is_one_sentence(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BundleError, match=r"cannot be read or written .*check the address, the cr"):
        push("demo", "s3://no-such-bucket-here/department/ours")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    s3fs.S3FileSystem.clear_instance_cache()
    with warnings.catch_warnings(), pytest.raises(BundleError, match="cannot be read or written"):
        pull("s3://bundles/department/ours", tmp_path / "pulled")

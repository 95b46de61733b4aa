"""Pushing and pulling bundles: what arrives is whole and the same, or nothing arrives."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fsspec
import pytest
from huggingface_hub import HfApi, constants
from typer.testing import CliRunner

from model.bundling import hub_store, remote, transfer
from model.bundling.remote import FolderStore, ObjectStore
from model.bundling.transfer import pull, push
from model.errors import BundleError
from model.manifest import MANIFEST, list_files, read_manifest, resolve, write_manifest
from nightdraft.cli.main import app
from tests.support.model_hub import TOKEN, ModelHub, Repository, model_hub

PLACES = ("folder", "object store", "hub")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(resolve("demo"), tmp_path_factory.mktemp("bundle") / "ours"))


@pytest.fixture
def other(bundle: Path, tmp_path: Path) -> Path:
    """Another bundle, with a file less and a file more."""
    folder = Path(shutil.copytree(bundle, tmp_path / "other"))
    (folder / "losses.png").unlink()
    (folder / "notes.md").write_text("another bundle")
    write_manifest(folder, replace(read_manifest(bundle), name="other"))
    return folder


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ModelHub]:
    with model_hub() as running:
        monkeypatch.setattr(hub_store, "HfApi", partial(HfApi, endpoint=running.address))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield running


@pytest.fixture
def address(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty place of the kind that the test asks for."""
    patch = pytest.MonkeyPatch()
    patch.setitem(remote.OBJECT_STORES, "memory", "fsspec")
    memory = fsspec.filesystem("memory")
    if request.param == "hub":
        request.getfixturevalue("hub")
    yield {
        "folder": str(tmp_path / "share" / "ours"),
        "object store": "memory://bucket/bundles/ours",
        "hub": "hf://department/ours@night",
    }[request.param]
    memory.store.clear()
    memory.pseudo_dirs[:] = [""]
    patch.undo()


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in (*list_files(folder), MANIFEST)}


@pytest.mark.parametrize("address", PLACES, indirect=True)
def test_what_was_pushed_is_pulled_and_copied_once(
    address: str, bundle: Path, other: Path, tmp_path: Path
) -> None:
    seen: list[tuple[str, float, float | None]] = []
    out = tmp_path / "pulled"
    expected = contents(bundle)
    size = sum(map(len, expected.values()))
    pushed = push(bundle, address, progress=lambda *step: seen.append(step))
    assert pushed.copied == size
    assert push(bundle, address).copied == 0
    copying = [done for step, done, _ in seen if step == "copying"]
    assert copying == sorted(copying)
    assert seen[-1] == ("copying", size, size)
    pulled = pull(address, out, digest=pushed.manifest.digest[:12])
    assert pulled.copied == size
    assert contents(out) == expected
    assert pull(address, out).copied == 0
    # No folder of another kind is left, in the bundle or beside it.
    assert sorted(p.name for p in out.iterdir() if p.is_dir()) == ["asking", "language"]
    assert not list(tmp_path.glob("pulled.*"))
    # Another bundle takes its place only where that is asked for.
    with pytest.raises(BundleError, match=r"has another bundle \(phantoms 4, digest"):
        push(other, address)
    push(other, address, replace=True)
    with pytest.raises(BundleError, match="--replace"):
        pull(address, out)
    assert contents(out) == expected
    pull(address, out, replace=True)
    assert contents(out) == contents(other)
    assert set(remote.open_store(address).list_files()) == {*list_files(other), MANIFEST}


@pytest.mark.parametrize("address", PLACES, indirect=True)
def test_a_changed_bundle_is_not_pushed(address: str, other: Path, tmp_path: Path) -> None:
    (other / "notes.md").write_text("changed by hand")
    with pytest.raises(BundleError, match=r"notes\.md is not the file that the manifest lists"):
        push(other, address)
    with pytest.raises(BundleError, match="there is no bundle at"):
        pull(address, tmp_path / "pulled")
    assert not (tmp_path / "pulled").exists()


def fail_after(monkeypatch: pytest.MonkeyPatch, owner: Any, method: str, calls: int) -> list[str]:
    """Let a method fail after so many calls; returns the list of first arguments."""
    plain, called = getattr(owner, method), []

    def failing(self: Any, first: Any, *rest: Any, **options: Any) -> Any:
        if len(called) == calls:
            raise OSError("the line is cut")
        called.append(str(first))
        return plain(self, first, *rest, **options)

    monkeypatch.setattr(owner, method, failing)
    return called


def test_a_pull_that_was_cut_goes_on_with_what_is_missing(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "pulled"
    with monkeypatch.context() as cut:
        fail_after(cut, FolderStore, "fetch", 6)
        with pytest.raises(OSError, match="the line is cut"):
            pull(str(bundle), out)
    partial = tmp_path / "pulled.partial"
    assert not out.exists()
    assert len(list_files(partial)) == 6
    assert not (partial / MANIFEST).exists()
    # Half a file, and a file of another bundle, are not taken for a part of this one.
    first = sorted(list_files(partial))[0]
    (partial / first).write_bytes((partial / first).read_bytes()[:100])
    (partial / "elsewhere").mkdir()
    (partial / "elsewhere" / "thing.bin").write_bytes(b"of another bundle")
    with monkeypatch.context() as watched:
        fetched = fail_after(watched, FolderStore, "fetch", 99)
        pull(str(bundle), out)
    assert len(fetched) == len(read_manifest(bundle).files) - 5
    assert contents(out) == contents(bundle)
    assert not partial.exists()


def test_a_push_that_was_cut_is_no_bundle_and_can_be_done_again(
    bundle: Path, other: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(remote.OBJECT_STORES, "memory", "fsspec")
    memory = fsspec.filesystem("memory")
    address = "memory://bucket/cut"
    try:
        for source, calls, message in (
            (bundle, 4, "there is no bundle at"),
            # The old manifest is there, and the files are no longer those that it lists.
            (other, 9, "is not the file that the manifest lists|lacks"),
        ):
            with monkeypatch.context() as cut:
                fail_after(cut, type(memory), "put_file", calls)
                with pytest.raises(BundleError, match=r"OSError: the line is cut\); check the ad"):
                    push(source, address, replace=True)
            with pytest.raises(BundleError, match=message):
                pull(address, tmp_path / "pulled")
            assert not (tmp_path / "pulled").exists()
            push(source, address, replace=True)
            pull(address, tmp_path / "whole", replace=True)
            assert contents(tmp_path / "whole") == contents(source)
    finally:
        memory.store.clear()


@pytest.mark.parametrize("address", PLACES, indirect=True)
def test_a_file_that_changed_there_is_not_pulled(
    address: str, bundle: Path, other: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    push(bundle, address)
    changed = b"{}"
    if isinstance(store := remote.open_store(address), ObjectStore):
        store._filesystem.pipe_file(store._path("config.json"), changed)
    elif isinstance(store, FolderStore):
        (store.folder / "config.json").write_bytes(changed)
    else:
        hub = request.getfixturevalue("hub")
        hub.repositories["department/ours"].commits[-1]["config.json"] = changed
    old = contents(other)
    with pytest.raises(BundleError, match=r"config\.json is not the file that the manifest lists"):
        pull(address, other, replace=True)
    assert contents(other) == old
    # The file is pushed again, because its size differs.
    assert push(bundle, address).copied > 0
    pull(address, other, replace=True)
    assert contents(other) == contents(bundle)


def test_a_damage_that_keeps_the_size_is_mended_by_replacing(bundle: Path, tmp_path: Path) -> None:
    share = tmp_path / "share"
    push(bundle, str(share))
    content = (share / "config.json").read_bytes()
    (share / "config.json").write_bytes(content[::-1])
    assert push(bundle, str(share)).copied == 0
    with pytest.raises(BundleError, match=r"config\.json .* push the bundle with --replace"):
        pull(str(share), tmp_path / "pulled")
    push(bundle, str(share), replace=True)
    pull(str(share), tmp_path / "pulled")
    assert contents(tmp_path / "pulled") == contents(bundle)


@pytest.mark.parametrize("address", ["folder", "object store"], indirect=True)
@pytest.mark.parametrize("with_bundle", [False, True])
def test_what_is_no_part_of_a_bundle_is_never_removed(
    address: str, with_bundle: bool, bundle: Path, other: Path
) -> None:
    if with_bundle:
        push(bundle, address)
    store = remote.open_store(address)
    if isinstance(store, ObjectStore):
        store._filesystem.pipe_file(store._path("others/thesis.txt"), b"years of work")
    else:
        assert isinstance(store, FolderStore)
        (store.folder / "others").mkdir(parents=True)
        (store.folder / "others" / "thesis.txt").write_bytes(b"years of work")
    before = store.list_files()
    with pytest.raises(BundleError, match=r"holds others/thesis\.txt, which is no part of a bun"):
        push(other, address, replace=True)
    assert remote.open_store(address).list_files() == before


def test_a_pull_never_replaces_a_folder_that_is_no_bundle(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "thesis.txt").write_text("years of work")
    with pytest.raises(BundleError, match="is not a bundle"):
        pull(str(bundle), tmp_path / "results", replace=True)
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/../../evil", "a\\evil"])
def test_names_that_lead_out_of_the_folder_are_refused(
    name: str, bundle: Path, tmp_path: Path
) -> None:
    source = Path(shutil.copytree(bundle, tmp_path / "source"))
    manifest = json.loads((source / MANIFEST).read_text())
    manifest["files"][name] = "0" * 64
    (source / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match="which is no path in a bundle"):
        pull(str(source), tmp_path / "pulled")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]


def test_another_digest_than_the_one_asked_for_copies_nothing(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="does not begin with abc: nothing was copied"):
        pull(str(bundle), tmp_path / "pulled", digest="abc")
    assert not list(tmp_path.iterdir())


def test_room_is_checked_before_anything_is_copied(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        transfer, "shutil", SimpleNamespace(disk_usage=lambda _: SimpleNamespace(free=1_000))
    )
    with pytest.raises(BundleError, match=r"has 0\.0 GB free, and 0\.0 GB are to be copied"):
        pull(str(bundle), tmp_path / "pulled")
    assert not list_files(tmp_path / "pulled.partial")


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("gs://bucket/ours", "there are no addresses of that kind; name a folder"),
        ("s3://bucket", "give a bucket and a prefix, as in s3://bucket/bundles/ours"),
        ("s3://bucket/ours", r"not installed \(s3fs\): pip install 'nightdraft\[s3\]'"),
        ("hf://ours", "give owner and name of a model, as in hf://owner/name"),
    ],
)
def test_an_address_that_cannot_be_used_says_what_to_do(
    address: str, message: str, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "find_spec", lambda _: None)
    with pytest.raises(BundleError, match=message):
        push(bundle, address)


# ---- The hub ----


def test_a_new_repository_is_private_and_a_public_one_is_not_pushed_to_unasked(
    hub: ModelHub, bundle: Path
) -> None:
    push(bundle, "hf://department/ours")
    assert hub.repositories["department/ours"].private
    push(bundle, "hf://department/shown", public=True)
    assert not hub.repositories["department/shown"].private
    hub.repositories["department/old"] = Repository(private=False)
    with pytest.raises(
        BundleError, match=r"everybody can read: make it private .* or give --public"
    ):
        push(bundle, "hf://department/old")
    assert len(hub.repositories["department/old"].commits) == 1


def test_without_the_token_there_is_no_bundle_to_see(
    hub: ModelHub, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push(bundle, "hf://department/ours")
    monkeypatch.setenv("HF_TOKEN", "hf_another")
    with pytest.raises(BundleError, match=r"there is no bundle at .* no right to read it"):
        pull("hf://department/ours", tmp_path / "pulled")
    with pytest.raises(BundleError, match=r"cannot be read or written .*hf auth login"):
        push(bundle, "hf://department/new")


def test_all_files_are_of_one_commit(
    hub: ModelHub, bundle: Path, other: Path, tmp_path: Path
) -> None:
    """A bundle that is pushed while another one is pulled is not mixed into it."""
    push(bundle, "hf://department/ours")
    repository = hub.repositories["department/ours"]

    def meanwhile(step: str, *_: Any) -> None:
        if step == "copying" and len(repository.commits) == 2:
            push(other, "hf://department/ours", replace=True)

    pull("hf://department/ours", tmp_path / "pulled", progress=meanwhile)
    assert len(repository.commits) == 3
    assert contents(tmp_path / "pulled") == contents(bundle)


# ---- The command ----


def test_the_command_gives_digest_and_licence(bundle: Path, tmp_path: Path) -> None:
    share, digest = tmp_path / "share", read_manifest(bundle).digest
    pushed = CliRunner().invoke(app, ["bundle", "push", str(bundle), str(share)])
    assert digest in pushed.stdout
    assert "MB pushed to" in pushed.stdout
    assert "its licence: Same as this software" in pushed.stdout
    again = CliRunner().invoke(app, ["bundle", "push", str(bundle), str(share)])
    assert f"is at {share} already" in again.stdout
    out = tmp_path / "pulled"
    pulled = CliRunner().invoke(
        app, ["bundle", "pull", str(share), str(out), "--digest", digest[:8], "--json"]
    )
    values = json.loads(pulled.stdout)
    assert values["digest"] == digest
    assert values["files"] == len(read_manifest(bundle).files)
    assert values["copied_bytes"] == sum(map(len, contents(bundle).values()))

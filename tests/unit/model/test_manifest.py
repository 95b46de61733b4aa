"""What a bundle says of itself, and whether its files are still those."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from model.errors import BundleError
from model.manifest import (
    MANIFEST,
    NULL,
    IntendedUse,
    Manifest,
    read_manifest,
    resolve,
    verify,
    write_manifest,
)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    (folder / "language").mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "language" / "tokenizer.json").write_text("{}")
    write_manifest(folder, replace(NULL, name="tiny", scores={"micro_f1": 0.9}))
    return folder


def rewrite(folder: Path, **changes: object) -> None:
    content = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps(content | changes))


def test_what_was_written_is_read(bundle: Path) -> None:
    manifest = verify(bundle)
    assert manifest.name == "tiny"
    assert manifest.scores == {"micro_f1": 0.9}
    assert manifest.intended_use == IntendedUse()
    assert sorted(manifest.files) == ["language/tokenizer.json", "model.safetensors"]


def test_digest_follows_the_files_and_not_the_folder(bundle: Path, tmp_path: Path) -> None:
    before = read_manifest(bundle)
    moved = tmp_path / "elsewhere"
    shutil.move(bundle, moved)
    assert read_manifest(moved).digest == before.digest
    (moved / "model.safetensors").write_bytes(b"other weights")
    after = write_manifest(moved, before)
    assert after.digest != before.digest
    assert after.preprocessing_digest == before.preprocessing_digest


def test_a_field_of_later_versions_that_says_nothing_leaves_the_digest(bundle: Path) -> None:
    before = read_manifest(bundle)
    content = json.loads((bundle / MANIFEST).read_text())
    for later in ("classifier", "templates", "adapters", "finding_head"):
        del content[later]
    (bundle / MANIFEST).write_text(json.dumps(content))
    assert read_manifest(bundle) == before
    first = {name: value for name, value in asdict(before).items() if name in content}
    encoded = json.dumps(first, sort_keys=True).encode()
    assert before.digest == hashlib.sha256(encoded).hexdigest()
    assert replace(before, classifier="eye").digest != before.digest
    assert replace(before, templates=("none",)).digest != before.digest
    assert replace(before, adapters=({"name": "stage2"},)).digest != before.digest
    assert replace(before, finding_head={"observations": []}).digest != before.digest


def test_adapters_are_read_as_they_were_written(bundle: Path) -> None:
    adapters = ({"name": "stage1", "rank": 16}, {"name": "stage2", "rank": 16})
    written = write_manifest(bundle, replace(read_manifest(bundle), adapters=adapters))
    assert written.adapters == adapters
    assert verify(bundle) == written


def test_checking_reports_progress_to_its_end(bundle: Path) -> None:
    calls: list[tuple[str, float, float | None]] = []
    verify(bundle, lambda step, done, total: calls.append((step, done, total)))
    size = sum(
        path.stat().st_size
        for path in bundle.rglob("*")
        if path.is_file() and path.name != MANIFEST
    )
    done = [call[1] for call in calls]
    assert {(step, total) for step, _, total in calls} == {("checking", size)}
    assert done == sorted(done)
    assert done[-1] == size


def test_preprocessing_digest_follows_what_prepares(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = read_manifest(bundle)
    before = manifest.preprocessing_digest
    larger = replace(manifest, preprocessing=replace(manifest.preprocessing, size=224))
    assert larger.preprocessing_digest != manifest.preprocessing_digest
    assert replace(manifest, name="new").preprocessing_digest == before
    monkeypatch.setattr("model.manifest.PREPROCESSING", "another preprocessing")
    assert manifest.preprocessing_digest != before


def test_other_rules_of_choice_prepare_again_and_change_no_input(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = read_manifest(bundle)
    inputs, preparation = manifest.preprocessing_digest, manifest.preparation_digest
    monkeypatch.setattr("model.manifest.CHOICE", "other rules")
    assert manifest.preprocessing_digest == inputs
    assert manifest.preparation_digest != preparation
    monkeypatch.setattr("model.manifest.CHOICE", "nightdraft-views-3")
    monkeypatch.setattr("model.manifest.PREPROCESSING", "another preprocessing")
    assert manifest.preparation_digest != preparation


@pytest.mark.parametrize("name", ["model.safetensors", "language/tokenizer.json"])
def test_a_changed_file_is_refused_by_name(bundle: Path, name: str) -> None:
    with (bundle / name).open("ab") as file:
        file.write(b"!")
    with pytest.raises(BundleError, match=name):
        verify(bundle)


def test_a_missing_file_is_refused_by_name(bundle: Path) -> None:
    (bundle / "model.safetensors").unlink()
    with pytest.raises(BundleError, match=r"lacks model\.safetensors"):
        verify(bundle)


def test_an_unlisted_file_is_refused_by_name(bundle: Path) -> None:
    (bundle / "extra.bin").write_bytes(b"?")
    with pytest.raises(BundleError, match=r"extra\.bin"):
        verify(bundle)


def test_no_folder_no_manifest_no_json(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="there is no bundle"):
        read_manifest(tmp_path / "nowhere")
    with pytest.raises(BundleError, match="not a bundle"):
        read_manifest(tmp_path)
    (tmp_path / MANIFEST).write_text("{")
    with pytest.raises(BundleError, match="not readable JSON"):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"surprise": 1},
        {"name": 3},
        {"demonstration": "no"},
        {"max_new_tokens": True},
        {"preprocessing": {"size": 112, "mean": [0.5], "std": [0.5], "crop": 1}},
        {"preprocessing": [112]},
        {"files": []},
    ],
)
def test_an_unknown_manifest_is_refused(bundle: Path, changes: dict[str, object]) -> None:
    rewrite(bundle, **changes)
    with pytest.raises(BundleError, match="not a manifest for this software"):
        read_manifest(bundle)


def test_a_missing_key_is_refused(bundle: Path) -> None:
    content = json.loads((bundle / MANIFEST).read_text())
    del content["template"]
    (bundle / MANIFEST).write_text(json.dumps(content))
    with pytest.raises(BundleError, match="template"):
        read_manifest(bundle)


def test_names_and_paths(tmp_path: Path) -> None:
    assert resolve("demo") == resolve("phantoms")
    assert resolve("demo").name == "phantoms"
    assert resolve(str(tmp_path)) == tmp_path
    assert read_manifest("null") is NULL
    assert verify("null") is NULL


def test_a_demonstration_says_so() -> None:
    shipped: Manifest = read_manifest("demo")
    assert shipped.demonstration
    assert "phantoms only" in shipped.notice
    assert "not be used on patients" in shipped.notice

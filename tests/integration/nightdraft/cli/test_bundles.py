"""`nightdraft bundle make | verify | show`, as a person runs them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from model.network.sizes import build_random
from tests.support.base_models import adapter_folder, base_folder
from tests.support.forked_commands import forked_commands

IMPORTED = ("model.bundling.build", "model.bundling.store", "records.database.session")
Bundle = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bundle]:
    """Runs `nightdraft bundle` with its arguments, in a process of its own."""
    folder = tmp_path_factory.mktemp("outputs")
    with forked_commands(folder, *IMPORTED) as run:
        yield partial(run, "bundle")


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 1, done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return base_folder(tmp_path_factory.mktemp("base") / "instructblip", build_random("tiny"))


def test_a_bundle_is_made_verified_shown_and_damaged(
    bundle: Bundle, base: Path, tmp_path: Path
) -> None:
    adapter = adapter_folder(tmp_path / "stage1", build_random("tiny"), "stage1")
    (tmp_path / "scores.json").write_text('{"BLEU-4": 0.2}')
    out = tmp_path / "ours"
    arguments = ["make", out, "--from", base, "--name", "ours", "--version", "7"]
    arguments += ["--adapter", adapter, "--template", "context", "--template", "none"]
    arguments += ["--licence", "BSD-3-Clause", "--scores", tmp_path / "scores.json"]
    arguments += ["--max-instruction-tokens", "200", "--shard-mb", "1", "--precision", "float16"]
    done = bundle(*arguments)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""  # no bar where there is no terminal
    assert "ours 7" in done.stdout

    manifest = json.loads(bundle("show", out, "--json").stdout)
    assert manifest["template"] == "context"
    assert manifest["templates"] == ["none"]
    assert manifest["adapters"][0]["name"] == "stage1"
    assert manifest["scores"] == {"BLEU-4": 0.2}
    assert manifest["digest"] in done.stdout
    page = bundle("show", out).stdout
    for fact in ("ours 7", manifest["digest"], "BSD-3-Clause", "context, also none", "rank 4"):
        assert fact in page
    assert "56 x 56" in page

    assert f"digest {manifest['digest']}" in bundle("verify", out).stdout
    assert "already holds ours 7" in one_line(bundle(*arguments))
    assert bundle(*arguments, "--replace").returncode == 0

    weights = next(out.glob("*.safetensors"))
    damaged = bytearray(weights.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    weights.write_bytes(damaged)
    line = one_line(bundle("verify", out))
    assert f"{weights} is not the file that the manifest lists" in line


def test_an_error_is_one_line(bundle: Bundle, base: Path, tmp_path: Path) -> None:
    arguments = ["make", tmp_path / "ours", "--name", "ours", "--version", "1"]
    assert "give --template" in one_line(bundle(*arguments, "--from", base))
    line = one_line(bundle(*arguments, "--from", base, "--template", "poem", "--licence", "BSD"))
    assert "there is no template 'poem'" in line
    assert "there is no folder" in one_line(bundle(*arguments, "--from", tmp_path / "nowhere"))
    (tmp_path / "list.json").write_text("[]")
    line = one_line(bundle(*arguments, "--from", base, "--scores", tmp_path / "list.json"))
    assert "not one JSON object" in line
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    (pickled / "pytorch_model.bin").write_bytes(b"?")
    assert "pytorch_model.bin: pickled" in one_line(bundle(*arguments, "--from", pickled))


def test_the_shipped_bundle_is_whole(bundle: Bundle) -> None:
    assert "phantoms" in bundle("verify", "demo").stdout
    assert "must not be used on patients" in bundle("show", "demo").stdout
    assert bundle("verify", "null").returncode == 0

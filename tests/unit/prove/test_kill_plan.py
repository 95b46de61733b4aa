"""The proof by random kills: its plan is the seed's, and it finds what is lost."""

from __future__ import annotations

import json
from pathlib import Path

from records.blobs import Blobs, data_set_sha256
from tests.prove.kill_plan import KINDS, Figures, StoredFile, add_up, find_losses, make_plan


def test_a_seed_gives_one_plan_with_every_kind() -> None:
    plan = make_plan(600, 7, full_disks=True)
    assert plan == make_plan(600, 7, full_disks=True)
    assert plan != make_plan(600, 8, full_disks=True)
    assert {step.kind for step in plan} == set(KINDS)
    assert "full disk" not in {step.kind for step in make_plan(600, 7, full_disks=False)}


def store(data_dir: Path, key: str, content: bytes) -> StoredFile:
    path = Blobs(data_dir).path(key)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return StoredFile(key, len(content), data_set_sha256(path))


def test_it_finds_what_has_no_row_no_file_or_other_bytes(tmp_path: Path) -> None:
    content = bytes(1_000) + b"film"
    stored = {
        uid: store(tmp_path, Blobs(tmp_path).new_instance(), content)
        for uid in ("1.1", "1.2", "1.3")
    }
    Blobs(tmp_path).path(stored["1.2"].key).unlink()
    Blobs(tmp_path).path(stored["1.3"].key).write_bytes(bytes(1_000) + b"FILM")
    acknowledged = dict.fromkeys(("1.1", "1.2", "1.3", "1.4"), "1")
    assert find_losses(acknowledged, stored, tmp_path) == ["1.2", "1.3", "1.4"]


def test_runs_are_added_up_and_one_bad_run_is_bad() -> None:
    well = Figures(1, "null", kills=3, acknowledged=5, drafted=2, kinds={"flushall": 3})
    bad = Figures(2, "demo", kills=2, acknowledged=4, drafted=4, lost=1, kinds={"flushall": 2})
    lines = [json.dumps(vars(figures)) for figures in (well, bad)]
    text, is_well = add_up(lines)
    assert not is_well
    assert text.startswith("flushall 5\nkills 5 acknowledged 9 drafted 6 lost 1 twice 0")
    assert add_up(lines[:1])[1]

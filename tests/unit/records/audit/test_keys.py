"""The key of the trail: made once, for its user alone, and never taken for another one."""

import os
import stat
import threading

import pytest

from records.audit.keys import load_key
from records.errors import SettingsError


@pytest.fixture
def key_path(tmp_path, setting):
    path = tmp_path / "deep" / "key"
    setting(trail_key_file=path)
    return path


def test_it_is_made_once_and_is_its_users_alone(key_path):
    made = load_key()
    assert stat.S_IMODE(key_path.stat().st_mode) == 0o600
    assert load_key() == made
    assert len(made.secret) == 32
    assert [file.name for file in key_path.parent.iterdir()] == ["key"]


def test_without_a_setting_it_is_under_the_data_folder(data_dir, setting):
    setting(trail_key_file="")
    (data_dir / "blobs").mkdir(exist_ok=True)
    if os.geteuid() == 0:
        os.chown(data_dir / "blobs", 12345, 12346)
    load_key()
    key = data_dir / "keys" / "trail.key"
    assert stat.S_IMODE(key.parent.stat().st_mode) == 0o700
    if os.geteuid() == 0:  # what root makes is the user's of the parts
        assert {(path.stat().st_uid, path.stat().st_gid) for path in (key, key.parent)} == {
            (12345, 12346)
        }


def test_who_begin_at_a_time_have_one_key(key_path):
    barrier = threading.Barrier(8)
    keys = []

    def load():
        barrier.wait()
        keys.append(load_key())

    threads = [threading.Thread(target=load) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(keys) == 8
    assert len({key.secret for key in keys}) == 1


def test_a_damaged_file_is_refused_and_stays(key_path):
    key_path.parent.mkdir()
    key_path.write_text("not a key\n")
    with pytest.raises(SettingsError, match="holds no key"):
        load_key()
    assert key_path.read_text() == "not a key\n"


def test_a_file_that_cannot_be_made_is_named(tmp_path, setting):
    (tmp_path / "file").write_text("")
    setting(trail_key_file=tmp_path / "file" / "key")
    with pytest.raises(SettingsError, match="file/key"):
        load_key()


def test_pseudonyms_tell_patients_apart_and_need_the_key(key_path):
    key = load_key()
    assert key.pseudonym("P-1", "") == key.pseudonym(" P-1 ", " ")
    different = {key.pseudonym(*who) for who in (("P-1", ""), ("P-1", "A"), ("P-2", ""))}
    assert len(different) == 3
    key_path.unlink()
    load_key.__globals__["_load"].cache_clear()
    assert load_key().pseudonym("P-1", "") not in different


def test_the_key_is_in_no_text_of_it(key_path):
    key = load_key()
    assert key.secret.hex() not in f"{key} {key!r} {key.key_id}"

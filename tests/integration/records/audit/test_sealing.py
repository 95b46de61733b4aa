"""Seals of the trail: what a database superuser changes, removes, cuts or makes anew is found."""

import json
import uuid

import pytest
from sqlalchemy import select, text

from records.actors import Actor, acting_as
from records.audit import heads, sealing, trail
from records.audit.keys import load_key
from records.audit.rows import Source
from records.audit.sealing import compute_seal
from records.audit.verifying import FindingKind, verify
from records.database.audit_tables import AuditEntry, AuditGap, AuditRemovedRow, AuditSeal
from records.database.session import engine, unit_of_work
from records.database.tables import Event
from records.errors import PartError, SettingsError
from records.states import ActorKind, AuditAction, EventKind
from records.workflow import events
from tests.support.registered_studies import PATIENT, new_instance, register

READER = Actor(ActorKind.ACCOUNT, "ana", "17", "10.0.0.7")


@pytest.fixture(autouse=True)
def _folders(database, data_dir):
    """A fresh database, and a folder for the heads."""


def look(count=1, detail="the worklist"):
    with acting_as(READER), unit_of_work() as session:
        for _ in range(count):
            trail.record(session, AuditAction.VIEW, patient=PATIENT, detail=detail)


def act():
    (study,) = (done.study_id for done in register(new_instance(f"1.{uuid.uuid4().int % 10**9}")))
    with acting_as(READER), unit_of_work() as session:
        events.append_event(session, study, EventKind.WITHDRAWN, "by hand")


def seal():
    """Seal what there is, and write the heads; returns how many rows it was."""
    with unit_of_work() as session:
        made = sealing.seal_next(session)
        heads.write_heads(session)
        return made.row_count if made else 0


def as_superuser(*statements):
    """Run statements as who owns the database and lets no trigger stop them."""
    with engine().begin() as connection:
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        for statement in statements:
            assert connection.execute(text(statement)).rowcount, statement


def kinds(*paths):
    return [finding.kind for finding in verify(paths).findings]


def fill():
    """Three seals over looks and events of people and parts."""
    for _ in range(3):
        look(3)
        act()
        seal()


def test_a_whole_trail_verifies():
    fill()
    look()
    result = verify()
    assert result.findings == []
    assert (result.seals, result.unsealed, result.heads) == (3, 1, 3)
    with unit_of_work() as session:
        rows = len(session.scalars(select(Event.id)).all()) + 9
    assert result.rows == rows
    assert seal() == 1
    assert verify().unsealed == 0
    assert seal() == 0


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE audit_entries SET actor_name = 'bob' WHERE id = 4",
        "UPDATE audit_entries SET patients = '{}' WHERE id = 4",
        "UPDATE audit_entries SET at = at + interval '1 microsecond' WHERE id = 4",
        "UPDATE events SET actor_name = 'bob' WHERE kind = 'WITHDRAWN'",
        "UPDATE events SET detail = 'by chance' WHERE id = (SELECT min(id) FROM events)",
    ],
)
def test_a_changed_row_is_found(change):
    fill()
    as_superuser(change)
    found = kinds()
    assert found
    assert set(found) == {FindingKind.ROW_CHANGED}


def test_a_removed_row_is_found_and_named():
    fill()
    as_superuser(
        "DELETE FROM audit_entries WHERE id = 5",
        "DELETE FROM events WHERE id = (SELECT max(id) FROM events)",
    )
    assert kinds() == [FindingKind.ROW_GONE, FindingKind.ROW_GONE]
    assert "Row 5 of audit_entries was sealed by seal 2" in verify().findings[0].sentence


def test_a_removal_by_rule_is_no_finding_and_a_forged_one_is():
    fill()
    with unit_of_work() as session:
        assert sealing.keep_removed(session, Source.ENTRIES, [5, 6, 99]) == 2
        session.execute(text("SET LOCAL session_replication_role = replica"))
        session.execute(text("DELETE FROM audit_entries WHERE id IN (5, 6)"))
    result = verify()
    assert result.findings == []
    assert result.removed == 2
    with unit_of_work() as session:
        kept = session.scalars(select(AuditRemovedRow)).first()
        digest, forged = kept.digest, kept.seal
    as_superuser(
        "INSERT INTO audit_removed_rows (source, row_id, digest, seal) "
        f"VALUES ('audit_entries', 4, '{digest}', '{forged}')",
        "DELETE FROM audit_entries WHERE id = 4",
    )
    assert kinds() == [FindingKind.ROW_GONE]


def test_a_cut_tail_is_found_by_the_heads_outside():
    fill()
    as_superuser(
        "DELETE FROM audit_entries WHERE id > 6",
        "DELETE FROM events WHERE id > (SELECT highest_event_id FROM audit_seals WHERE number = 2)",
        "DELETE FROM audit_seals WHERE number = 3",
    )
    result = verify()
    assert [finding.kind for finding in result.findings] == [FindingKind.TAIL_CUT]
    assert "Seal 3" in result.findings[0].sentence
    # Whoever goes on sealing notices it, too, and does not go on in the file.
    look()
    with pytest.raises(PartError, match="do not go on from the head of seal 3"):
        seal()


def test_a_seal_taken_out_of_the_middle_is_found():
    fill()
    as_superuser("DELETE FROM audit_seals WHERE number = 2")
    assert FindingKind.SEAL_GONE in kinds()
    assert FindingKind.ROW_ADDED in kinds()


def test_a_trail_made_anew_without_the_key_is_found():
    fill()
    as_superuser(
        "UPDATE audit_entries SET actor_name = 'bob'",
        "UPDATE audit_seals SET digest = md5(digest), seal = md5(seal)",
        "UPDATE audit_seals SET previous = '' WHERE number = 1",
        "UPDATE audit_seals AS later SET previous = earlier.seal FROM audit_seals AS earlier"
        " WHERE earlier.number = later.number - 1",
    )
    (heads.head_file()).unlink()  # even without a head outside
    found = kinds()
    assert found.count(FindingKind.SEAL_WRONG) == 3
    assert found.count(FindingKind.ROW_CHANGED) == 3


def test_a_trail_made_anew_with_the_key_is_found_by_the_heads_outside(tmp_path):
    fill()
    copy = tmp_path / "syslog"
    copy.write_text(
        "".join(
            f"<86>1 2026-11-24T01:02:03Z pacs nightdraft - - - {line}\n"
            for line in heads.head_file().read_text().splitlines()
        )
    )
    as_superuser("UPDATE audit_entries SET actor_name = 'bob'", "DELETE FROM audit_seals")
    heads.head_file().unlink()
    seal()
    assert kinds() == []
    found = verify([copy])
    assert [finding.kind for finding in found.findings] == [
        FindingKind.REWRITTEN,
        FindingKind.TAIL_CUT,
        FindingKind.TAIL_CUT,
    ]


def test_a_row_put_among_sealed_ones_is_found():
    look()
    with engine().begin() as connection:
        connection.execute(text("SELECT nextval('audit_entries_id_seq')"))  # it is never used
    look()
    seal()
    as_superuser("DELETE FROM audit_gaps")
    as_superuser(
        "INSERT INTO audit_entries (id, action, actor_kind, actor_name, actor_id, actor_address,"
        " detail) OVERRIDING SYSTEM VALUE VALUES (2, 'VIEW', 'NOBODY', '', '', '', 'forged')"
    )
    assert kinds() == [FindingKind.ROW_ADDED]


def test_what_is_rolled_back_leaves_a_gap_that_is_no_finding(monkeypatch):
    def break_off():
        with unit_of_work() as session:
            trail.record(session, AuditAction.VIEW, patient=PATIENT)
            raise RuntimeError

    look()
    with pytest.raises(RuntimeError):
        break_off()
    look()
    assert seal() == 2
    assert verify().findings == []
    with unit_of_work() as session:
        gaps = session.scalars(select(AuditGap).where(AuditGap.source == "audit_entries")).all()
    assert [(gap.first_id, gap.last_id) for gap in gaps] == [(2, 2)]
    monkeypatch.setattr(sealing, "GAP_SECONDS", 0.0)
    seal()
    with unit_of_work() as session:
        assert session.scalars(select(AuditGap)).all() == []
    assert verify().findings == []


def test_an_entry_that_is_committed_late_is_sealed(monkeypatch):
    """Two transactions: the one with the lower ids commits when higher ones are sealed."""
    monkeypatch.setattr(sealing, "GAP_SECONDS", 0.0)
    look()
    with unit_of_work() as slow:
        for _ in range(3):
            trail.record(slow, AuditAction.VIEW, patient=PATIENT, detail="slow")
        with unit_of_work() as other_slow:
            trail.record(other_slow, AuditAction.VIEW, detail="slower")
            look(detail="quick")
            assert seal() == 2
            assert verify().findings == []
            # However often it is sealed meanwhile: whoever still runs is waited for.
            look()
            assert seal() == 1
        assert seal() == 1
    assert verify().unsealed == 3
    assert verify().findings == []
    assert seal() == 3
    with unit_of_work() as session:
        seals = session.scalars(select(AuditSeal)).all()
        assert session.scalars(select(AuditGap)).all() == []
        assert len(session.scalars(select(AuditEntry.id)).all()) == 7
    covered = [span for made in seals for span in sealing.sealed_spans(made, Source.ENTRIES)]
    assert sorted(one for first, last in covered for one in range(first, last + 1)) == [
        1, 2, 3, 4, 5, 6, 7
    ]  # fmt: skip
    assert verify().findings == []


def test_a_row_that_is_sealed_while_the_trail_is_verified_is_no_finding(monkeypatch):
    monkeypatch.setattr(sealing, "GAP_SECONDS", 0.0)
    look()
    with unit_of_work() as slow:
        trail.record(slow, AuditAction.VIEW, detail="slow")
        look()
        assert seal() == 2
    look()
    result = verify(progress=lambda _: seal())  # the first gap's row, and one after the seal
    assert (result.findings, result.unsealed) == ([], 2)
    result = verify()
    assert (result.findings, result.unsealed, result.rows) == ([], 0, 4)


def test_gaps_of_a_restored_database_are_closed(monkeypatch):
    """The numbers of transactions begin anew there, so they say nothing of older ones."""
    monkeypatch.setattr(sealing, "GAP_SECONDS", 0.0)
    look()
    with unit_of_work() as session:
        session.add(
            AuditGap(
                source="audit_entries", first_id=500, last_id=600, cluster="another",
                transaction_id=2**62,
            )
        )  # fmt: skip
    seal()
    with unit_of_work() as session:
        assert session.scalars(select(AuditGap)).all() == []


def test_more_rows_than_one_seal_takes(monkeypatch):
    monkeypatch.setattr(sealing, "ROWS_AT_ONCE", 4)
    look(10)
    assert [seal() for _ in range(4)] == [4, 4, 2, 0]
    assert verify().findings == []


def test_rows_that_nobody_seals_are_found():
    look(2)
    as_superuser("UPDATE audit_entries SET at = at - interval '1 hour'")
    assert kinds() == [FindingKind.ROW_UNSEALED]


def test_a_line_that_a_crash_cut_is_written_again():
    fill()
    path = heads.head_file()
    whole = path.read_text()
    path.write_text(whole[:-20])
    look()
    seal()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["number"] for line in lines] == [1, 2, 3, 4]
    assert path.read_text().startswith(whole)
    assert verify().findings == []


def test_without_the_key_nothing_is_verified_and_none_is_made(tmp_path, setting):
    fill()
    setting(trail_key_file=tmp_path / "elsewhere")
    with pytest.raises(SettingsError, match="the key of the trail is not at"):
        verify()
    assert not (tmp_path / "elsewhere").exists()


def test_a_seal_says_all_that_it_has():
    """Each column but the seal itself changes it."""
    fill()
    key = load_key()
    with unit_of_work() as session:
        made = session.scalars(select(AuditSeal).where(AuditSeal.number == 2)).one()
        session.expunge(made)
    assert compute_seal(key, made) == made.seal
    columns = [column.name for column in AuditSeal.__table__.columns if column.name != "seal"]
    for column in columns:
        kept = getattr(made, column)
        changed = {int: lambda v: v + 1, str: lambda v: f"{v}0"}
        make = changed.get(type(kept), lambda v: v.replace(year=2001))
        setattr(made, column, make(kept))
        assert compute_seal(key, made) != made.seal, column
        setattr(made, column, kept)
    assert compute_seal(key, made) == made.seal

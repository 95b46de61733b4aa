"""Removal: whose films' files go, whose stay and why, and what is left when it is killed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import select, text, update

from intake.dicom.orphans import sweep_orphans
from records.blobs import Blobs
from records.campaigns import campaigns
from records.campaigns.adding import NewStudy
from records.database.retention_tables import BlobRemoval
from records.database.session import engine, unit_of_work
from records.database.tables import Instance, Study
from records.operations import alarms, scrub
from records.retention import (
    disk,
    erasure,
    erasure_statements,
    film_verdicts,
    prepared,
    removal,
    site_days,
    walks,
)
from records.retention.film_verdicts import KeptBecause
from records.settings import settings
from records.states import (
    WARNING,
    CampaignKind,
    Damage,
    EndReason,
    EventKind,
    HoldReason,
    InstanceState,
    Stage,
    WalkState,
)
from records.workflow import events, holds, requests, stored_bytes, studies
from records.workflow.identifiers import PatientId
from tests.support.campaigns import create
from tests.support.paths import ROOT
from tests.support.query_plans import explained, nodes
from tests.support.registered_studies import claim
from tests.support.retention import (
    draft_open,
    draft_studies,
    files_of,
    has_files,
    instances_of,
    older,
    prepared_files,
    sign,
)
from tests.support.stored_studies import close_studies, phantom_images, store_image, store_studies


@pytest.fixture(autouse=True)
def blobs(database, data_dir, setting) -> Blobs:
    setting(bundle="null", quiet_seconds=0, disk_stop_mb=0)
    return Blobs(data_dir)


def run(blobs: Blobs) -> None:
    """One whole round, and those of the prepared inputs."""
    while removal.take_step(blobs, begin=True):
        pass
    while prepared.take_step(blobs):
        pass
    while prepared.take_stray_step(blobs, begin=True):
        pass


def kept_because(study_id: uuid.UUID) -> KeptBecause | None:
    with unit_of_work() as session:
        verdict = removal.remove_bytes(session, study_id)
        session.rollback()
    return verdict if isinstance(verdict, KeptBecause) else None


def test_files_go_thirty_days_after_the_signature_and_ninety_after_the_draft(blobs):
    signed, drafted = draft_studies(1, 2)
    older(5)
    sign(signed)
    older(29)
    run(blobs)
    assert has_files(signed)
    assert has_files(drafted)
    older(2)
    run(blobs)
    assert not has_files(signed)
    assert has_files(drafted)
    older(52)  # 88 days
    run(blobs)
    assert has_files(drafted)
    older(3)
    run(blobs)
    assert not has_files(drafted)
    for study, rule in ((signed, "SIGNATURE"), (drafted, "DRAFT")):
        (row,) = instances_of(study)
        assert row.bytes_removed_at is not None
        with unit_of_work() as session:
            line = events.timeline(session, study)[-1]
        assert (line.kind, line.reason) == (EventKind.BYTES_REMOVED, rule)
    with unit_of_work() as session:
        assert not stored_bytes.list_removals(session, 10)


def test_a_picture_goes_with_its_film(blobs):
    (study,) = draft_studies(1)
    (row,) = instances_of(study)
    blobs.write_picture(row.blob, b"jpeg")
    assert blobs.read_picture(row.blob) == b"jpeg"
    older(91)
    run(blobs)
    assert blobs.read_picture(row.blob) is None
    assert [path for path in blobs.root.rglob("*") if path.is_file()] == []


def test_zero_days_keep_everything(blobs, setting):
    setting(retention_signed_days=0, retention_drafted_days=0, retention_prepared_days=0)
    (study,) = draft_studies(1)
    sign(study)
    older(1000)
    run(blobs)
    assert has_files(study)
    assert len(prepared_files()) == 1


def test_prepared_inputs_go_seven_days_after_the_draft(blobs):
    draft_studies(1)
    older(6)
    run(blobs)
    assert len(prepared_files()) == 1
    older(2)
    run(blobs)
    assert prepared_files() == []
    with unit_of_work() as session:
        walk = {row.rule: row for row in walks.list_walks(session)}["PREPARED"]
    assert (walk.removed, walk.removed_bytes) == (1, 100)


def test_a_prepared_input_that_is_still_needed_stays_and_a_stray_one_goes(blobs, monkeypatch):
    (needed,) = store_studies(1)
    close_studies()
    (lease,) = claim(Stage.PREPARE)
    digest = "ab" * 32
    blobs.write_prepared(digest, b"needed")
    stray = "cd" * 32
    blobs.write_prepared(stray, b"stray")
    with unit_of_work() as session:
        given = requests.PreparedInput(f"prepared/ab/{digest}.npz", digest, "pp", {})
        requests.mark_prepared(session, lease, given)
    assert needed
    run(blobs)
    assert len(prepared_files()) == 2
    month_ago = time.time() - 38 * 86_400
    for path in prepared_files():
        os.utime(path, (month_ago, month_ago))
    run(blobs)
    assert [path.stem for path in prepared_files()] == [digest]


# ---- What keeps its files ----


def skip_study() -> uuid.UUID:
    (study,) = store_studies(40)
    close_studies()
    (lease,) = claim(Stage.PREPARE)
    with unit_of_work() as session:
        requests.skip(session, lease, "not_chest", "It is no chest film.")
    return study


def test_what_is_not_drafted_keeps_its_files(blobs):
    skipped = skip_study()
    (waiting,) = store_studies(1)
    close_studies()
    older(1000)
    run(blobs)
    assert has_files(waiting)
    assert has_files(skipped)
    assert kept_because(waiting) is KeptBecause.REQUESTED
    assert kept_because(skipped) is KeptBecause.NOT_DRAFTED


def test_what_was_skipped_goes_where_the_site_says_so(blobs, setting):
    setting(retention_undrafted_days=10)
    skipped = skip_study()
    older(9)
    run(blobs)
    assert has_files(skipped)
    older(2)
    run(blobs)
    assert not has_files(skipped)


def test_a_final_from_elsewhere_counts_as_a_signature(blobs):
    (study,) = store_studies(1)
    close_studies()
    with unit_of_work() as session:
        requests.cancel(session, study, "a final came", EndReason.REPORTED_ELSEWHERE)
    older(29)
    run(blobs)
    assert has_files(study)
    older(2)
    run(blobs)
    assert not has_files(study)


def test_a_late_film_keeps_the_files_of_a_drafted_study(blobs):
    images = next(images for seed in range(1, 50) if len(images := phantom_images(seed)) == 2)
    study = store_image(images[0])
    close_studies()
    draft_open()
    older(200)
    store_image(images[1])
    older(200)
    assert kept_because(study) is KeptBecause.RECEIVING
    close_studies()
    older(200)
    assert kept_because(study) is KeptBecause.REQUESTED
    run(blobs)
    assert len(files_of(study)) == 2
    draft_open()
    older(91)
    run(blobs)
    assert not has_files(study)


def test_an_open_hold_keeps_the_files(blobs):
    (study,) = draft_studies(1)
    with unit_of_work() as session:
        holds.open_hold(session, study, HoldReason.FINALS_DIFFER, "")
    older(200)
    run(blobs)
    assert has_files(study)
    assert kept_because(study) is KeptBecause.HELD


def test_a_film_that_is_being_compared_keeps_the_files(blobs):
    (study,) = draft_studies(1)
    with unit_of_work() as session:
        session.execute(update(Instance).values(state=InstanceState.UNCOMPARED))
    older(200)
    run(blobs)
    assert kept_because(study) is KeptBecause.COMPARED


@pytest.mark.parametrize("by", ["id", "uid", "accession number"])
def test_a_campaign_that_has_the_study_still_to_draft_keeps_its_files(blobs, by):
    (study,) = draft_studies(1)
    with unit_of_work() as session:
        row = session.get_one(Study, study)
        named = {
            "id": NewStudy(row.study_instance_uid, "", study),
            "uid": NewStudy(row.study_instance_uid, ""),
            "accession number": NewStudy("", row.accession_number),
        }[by]
    campaign = create(studies=[named])
    older(200)
    assert kept_because(study) is KeptBecause.IN_CAMPAIGN
    with unit_of_work() as session:
        campaigns.cancel(session, campaign)
    assert kept_because(study) is None


def test_a_campaign_that_walks_over_a_bundles_drafts_keeps_their_files(blobs):
    (study,) = draft_studies(1)
    create(CampaignKind.AGAIN, source={"from_bundle": "bundle"}, bundle="newer")
    older(200)
    assert kept_because(study) is KeptBecause.IN_CAMPAIGN
    with unit_of_work() as session:
        session.execute(
            text("UPDATE campaigns SET walk_state = :state"), {"state": WalkState.WALKED}
        )
    assert kept_because(study) is None


# ---- With others at work ----


def test_a_study_that_somebody_changes_is_not_waited_for(blobs):
    locked, free = draft_studies(1, 2)
    older(91)
    with engine().connect() as other:
        other.execute(text("SELECT id FROM studies WHERE id = :id FOR UPDATE"), {"id": locked})
        run(blobs)
        assert has_files(locked)
        assert not has_files(free)
        other.rollback()
    run(blobs)
    assert not has_files(locked)


def test_a_request_that_is_being_opened_again_is_not_missed(blobs):
    """`retry` locks the request and not the study: whoever is first, the other one sees it."""
    (study,) = draft_studies(1)
    with unit_of_work() as session:
        requests.cancel(session, study, "not needed")
    older(91)
    with unit_of_work() as retrying:
        requests.retry(retrying, study_id=study)
        assert kept_because(study) is KeptBecause.LOCKED
    assert kept_because(study) is KeptBecause.REQUESTED


def test_many_walk_claim_and_draft_at_once(blobs):
    """Removal by three walks beside claims that lock requests: each file goes once, no deadlock."""
    old = draft_studies(*range(1, 13))
    older(91)
    new = store_studies(*range(20, 32))
    close_studies()
    with ThreadPoolExecutor(4) as executor:
        walking = [executor.submit(run, blobs) for _ in range(3)]
        drafting = executor.submit(draft_open)
        for future in (*walking, drafting):
            future.result()
    assert not any(has_files(study) for study in old)
    assert all(has_files(study) for study in new)
    with unit_of_work() as session:
        (walk,) = [row for row in walks.list_walks(session) if row.rule == "INSTANCES"]
        lines = [
            event
            for study in old
            for event in events.timeline(session, study)
            if event.kind == EventKind.BYTES_REMOVED
        ]
    assert walk.removed == len(lines) == 12


KILLED = """
from records.blobs import Blobs
from records.retention import removal
from records.settings import settings
blobs = Blobs(settings().data_dir)
while removal.take_step(blobs, begin=True):
    pass
"""


@pytest.mark.parametrize("point", ["after-removal-rows", "after-removing-a-file"])
def test_killed_between_rows_and_files_nothing_is_left(blobs, point, tmp_path, monkeypatch):
    ids = draft_studies(1, 2, 3)
    older(91)
    monkeypatch.setenv("NIGHTDRAFT_KILL_AT", point)
    monkeypatch.setenv("NIGHTDRAFT_KILL_MARK", str(tmp_path / "killed"))
    killed = subprocess.run([sys.executable, "-c", KILLED], cwd=ROOT, check=False)
    assert killed.returncode == -9
    assert (tmp_path / "killed").exists()
    with unit_of_work() as session:
        assert session.scalars(select(BlobRemoval.key)).all()
    # The listener's sweep takes no file for a lost film that is only to be removed.
    for path in blobs.root.rglob("*.dcm"):
        os.utime(path, (1, 1))
    assert sweep_orphans(blobs, settings(), all_days=True).registered == 0
    monkeypatch.delenv("NIGHTDRAFT_KILL_AT")
    run(blobs)
    assert list(blobs.root.rglob("*.dcm")) == []
    with unit_of_work() as session:
        assert not session.scalars(select(BlobRemoval.key)).all()
    assert all(row.bytes_removed_at for study in ids for row in instances_of(study))


# ---- What others do with a film without its file ----


def test_the_scrub_takes_no_removed_file_for_a_damaged_one(blobs):
    removed, kept = draft_studies(1, 2)
    sign(removed)
    older(31)
    run(blobs)
    assert scrub.scrub_all(blobs) == 1
    with unit_of_work() as session:
        assert scrub.read_scrub_state(session).damaged == 0
    assert has_files(kept)


def test_who_read_the_row_before_notes_no_damage(blobs):
    (study,) = draft_studies(1)
    (before,) = instances_of(study)
    older(91)
    run(blobs)
    assert scrub.check(blobs, before) is Damage.GONE
    (row,) = instances_of(study)
    assert row.damage is None


def test_damage_ends_with_the_file(blobs):
    (study,) = draft_studies(1)
    (row,) = instances_of(study)
    blobs.path(row.blob).write_bytes(b"something else")
    scrub.check(blobs, row)
    older(91)
    run(blobs)
    with unit_of_work() as session:
        assert not alarms.open_alarms(session, scrub.ALARM_PART)
        assert scrub.read_scrub_state(session).damaged == 0


def test_a_dry_run_says_what_would_go_and_changes_nothing(blobs, setting):
    signed, drafted, fresh, waiting = (*draft_studies(1, 2, 3), *store_studies(4))
    close_studies()
    sign(signed)
    older(91)
    with unit_of_work() as session:
        session.execute(update(Instance).where(Instance.study_id == fresh).values(
            received_at=text("now()")
        ))  # fmt: skip
    outlook = removal.foresee()
    sizes = [row.size for study in (signed, drafted) for row in instances_of(study)]
    assert outlook.studies == {"SIGNATURE": 1, "DRAFT": 1}
    assert (outlook.files, outlook.size) == (2, sum(sizes))
    assert outlook.kept == {KeptBecause.REQUESTED: 1}
    assert prepared.foresee(blobs).files == 3
    assert all(has_files(study) for study in (signed, drafted, fresh, waiting))
    assert len(prepared_files()) == 3


# ---- Among many ----


@pytest.fixture
def many(blobs):
    """Thirty thousand studies."""
    with engine().begin() as connection:
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        connection.execute(text(MANY.replace("WARNING", WARNING)))
    with engine().connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE"))


LARGE = frozenset(
    {
        *("instances", "series", "studies", "drafts", "draft_requests", "reviews", "events"),
        *("campaign_studies", "campaign_files", "blob_removals"),
    }
)


def scans(plan: dict[str, Any]) -> list[str]:
    """The large tables that a plan reads as a whole."""
    return [
        node["Relation Name"]
        for node in nodes(plan)
        if node["Node Type"] == "Seq Scan" and node["Relation Name"] in LARGE
    ]


def test_each_query_uses_an_index_among_many_studies(many):
    with unit_of_work() as session:
        ids = session.scalars(select(Study.id).limit(40)).all()
    with explained() as plans, unit_of_work() as session:
        stored = removal.list_stored(session, 30, None, 500)
        removal.list_stored(session, 30, stored[-1][:2], 500)
        film_verdicts.read_facts(session, ids)
        removal.remove_bytes(session, ids[0])
        site_days.read_site_days(session)
        drafts = prepared.list_drafts(session, 7, None, 500)
        prepared.list_drafts(session, 7, (drafts[-1].created_at, drafts[-1].id), 500)
        prepared.still_needed(session, {draft.inputs_digest for draft in drafts})
        disk.read_pace(session)
        studies.known_blobs(session, ["a", "b"])
        stored_bytes.list_removals(session, 500)
        stored_bytes.lacks_bytes(session, ids[0])
    for statement, plan in plans:
        assert not scans(plan), statement


def test_an_erasure_reads_no_large_table_as_a_whole(many):
    with explained() as plans, unit_of_work() as session:
        rows, deleted = erasure.erase_patient(session, PatientId("P20005", ""), "request 17")
    assert len(rows.study_ids) == 1
    assert deleted["reviews"] == 1
    whole = {statement: found for statement, plan in plans if (found := scans(plan))}
    assert whole == {}
    assert len(plans) > len(erasure_statements.STATEMENTS)


FOREIGN_KEYS = text(
    """
    SELECT c.conrelid::regclass::text AS child, a.attname AS column_name
    FROM pg_constraint c
    JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]
    WHERE c.contype = 'f' AND c.connamespace = current_schema()::regnamespace
    AND c.confrelid::regclass::text = ANY (:erased)
    AND NOT EXISTS (
        SELECT FROM pg_index i WHERE i.indrelid = c.conrelid AND i.indkey[0] = c.conkey[1]
        AND (i.indpred IS NULL OR pg_get_expr(i.indpred, i.indrelid) LIKE '%IS NOT NULL%')
    )
    """
)
"""Columns that refer to a table of an erasure, and that no index leads to.

For each row that is deleted PostgreSQL looks there for rows that refer to it.
"""


def test_what_refers_to_an_erased_row_is_found_by_an_index(database):
    with unit_of_work() as session:
        erased = [table for table, _ in erasure_statements.STATEMENTS]
        assert session.execute(FOREIGN_KEYS, {"erased": erased}).all() == []


MANY = """
INSERT INTO studies (id, study_instance_uid, patient_id, patient_id_issuer, patient_name,
    patient_birth_date, patient_sex, accession_number, study_date, study_description, state,
    priority, calling_ae, first_received_at, last_received_at)
SELECT md5('s' || n)::uuid, '1.2.' || n, 'P' || n, '', 'A^B', '', '', 'A' || n, '', '', 'COMPLETE',
    2, 'CR', now() - n * interval '5 minutes', now() - n * interval '5 minutes'
FROM generate_series(1, 30000) n;
INSERT INTO series (id, study_id, series_instance_uid, modality)
SELECT md5('e' || n)::uuid, md5('s' || n)::uuid, '1.2.3.' || n, 'DX'
FROM generate_series(1, 30000) n;
INSERT INTO instances (id, study_id, series_id, sop_instance_uid, sop_class_uid,
    transfer_syntax_uid, state, blob, sha256, size, revision, calling_ae, received_at,
    bytes_removed_at)
SELECT md5('i' || n)::uuid, md5('s' || n)::uuid, md5('e' || n)::uuid, '1.2.4.' || n, '1', '1',
    'KEPT', 'instances/2026-01-01/00/' || md5('b' || n) || '.dcm', md5('h' || n), 1000, 1, 'CR',
    now() - n * interval '5 minutes',
    CASE WHEN n > 15000 THEN now() - (n - 14000) * interval '5 minutes' END
FROM generate_series(1, 30000) n;
INSERT INTO draft_requests (id, study_id, revision, priority, state, inputs_digest, created_at,
    changed_at, draft_id)
SELECT md5('r' || n)::uuid, md5('s' || n)::uuid, 1, 2,
    CASE WHEN n < 100 THEN 'PREPARED' ELSE 'DRAFTED' END, md5('d' || n),
    now() - n * interval '5 minutes', now() - n * interval '5 minutes',
    CASE WHEN n >= 100 THEN md5('f' || n)::uuid END
FROM generate_series(1, 30000) n;
UPDATE studies SET request_id = md5('r' || substr(study_instance_uid, 5))::uuid;
INSERT INTO drafts (id, study_id, request_id, revision, purpose, text, findings, impression,
    model_name, model_version, bundle_digest, settings_digest, inputs_digest, notice, prompt,
    indication, indication_source, views, left_out, notes, timings, tokens, token_logprobs, cut,
    device, dtype, created_at)
SELECT md5('f' || n)::uuid, md5('s' || n)::uuid, md5('r' || n)::uuid, 1, 'PRIMARY',
    'WARNING', '', '', 'm', '1', 'b', 's', md5('d' || n), '', '', '', '', '[]', '[]', '[]', '{}',
    '{}', '{}', false, 'cpu', 'float32', now() - n * interval '5 minutes'
FROM generate_series(100, 30000) n;
INSERT INTO reviews (study_id, draft_id, decision, reader, findings)
SELECT md5('s' || n)::uuid, md5('f' || n)::uuid, 'SIGNED', 'dr.reader', 'Clear.'
FROM generate_series(20000, 30000) n;
INSERT INTO blob_removals (key) SELECT md5('k' || n) FROM generate_series(1, 15000) n;
INSERT INTO campaigns (id, name, kind, skip_reported, time_zone, created_by)
SELECT md5('c')::uuid, 'c', 'LIST', false, 'UTC', 'a person';
INSERT INTO campaign_studies (campaign_id, study_instance_uid)
SELECT md5('c')::uuid, '1.9.' || n FROM generate_series(1, 15000) n;
INSERT INTO campaign_files (campaign_id, path, campaign_study_id)
SELECT campaign_id, 'f' || id, id FROM campaign_studies;
INSERT INTO events (study_id, kind, detail)
SELECT md5('s' || n)::uuid, 'COMPLETE', '' FROM generate_series(1, 30000) n;
"""

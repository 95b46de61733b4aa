"""Fills a database with studies for `nightdraft bench growth`, by a few large statements.

Most triggers are off meanwhile, and what they would have kept is filled in bulk. Indexes that no
constraint needs are dropped and built again at the end.
"""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.orm import Session

from records.database.session import wait_without_limit

SHARES = {
    "DRAFTED": 30,
    "WAITING": 30,
    "PREPARED": 25,
    "SKIPPED": 8,
    "FAILED": 4,
    "HELD": 3,
}
"""Studies of each hundred by the state in which they are listed."""

RECEIVING = 100
"""Studies that are still being received: as many as arrive in a minute or two, of however many."""

TABLES = (
    "studies",
    "series",
    "instances",
    "draft_requests",
    "drafts",
    "holds",
    "events",
    "worklist_entries",
    "orders",
    "order_keys",
    "order_changes",
    "study_orders",
    "campaign_studies",
    "work_counts",
)

FAMILY_NAMES = 20_000
"""Family names. The most frequent one is that of seven patients in a thousand, as in life."""

# One row a study with all that the other tables need of it. Ids grow, as those of a night do; a
# state is spread over all arrivals.
_SEED = """
CREATE TEMPORARY TABLE seed AS
SELECT n, uuidv7() AS study_id, uuidv7() AS request_id, uuidv7() AS series_id,
    uuidv7() AS draft_id, uuidv7() AS order_id,
    CASE WHEN n > :studies - :receiving THEN 'RECEIVING'
        ELSE (CAST(:states AS text[]))[1 + (n * 37 % 100)::int] END AS state,
    now() - make_interval(secs => :studies - n) AS at,
    floor(:family_names * power(random(), 2))::int AS family
FROM generate_series(1, :studies) AS n
"""

_FILL = (
    """
    INSERT INTO studies (id, study_instance_uid, patient_id, patient_id_issuer, patient_name,
        patient_birth_date, patient_sex, accession_number, study_date, study_description, state,
        priority, calling_ae, first_received_at, last_received_at)
    SELECT study_id, '2.25.1' || lpad(n::text, 12, '0'), 'P' || lpad((n / 2)::text, 9, '0'), '',
        'FAMILY' || family || '^GIVEN' || n % 1009, '19700101', 'F',
        'A' || lpad(n::text, 10, '0'), '20260101', 'CHEST',
        CASE state WHEN 'RECEIVING' THEN 'RECEIVING' ELSE 'COMPLETE' END, 2, 'XRAY', at, at
    FROM seed ORDER BY n
    """,
    """
    INSERT INTO series (id, study_id, series_instance_uid, modality)
    SELECT series_id, study_id, '2.25.1' || lpad(n::text, 12, '0') || '.1', 'DX'
    FROM seed ORDER BY n
    """,
    """
    INSERT INTO instances (study_id, series_id, sop_instance_uid, sop_class_uid,
        transfer_syntax_uid, state, blob, sha256, size, revision, calling_ae, received_at)
    SELECT study_id, series_id, '2.25.1' || lpad(n::text, 12, '0') || '.1.1',
        '1.2.840.10008.5.1.4.1.1.1.1', '1.2.840.10008.1.2.1', 'KEPT',
        'instances/2026-01-01/00/' || lpad(n::text, 32, '0') || '.dcm', lpad(n::text, 64, '0'),
        15000000, 1, 'XRAY', at
    FROM seed ORDER BY n
    """,
    """
    INSERT INTO holds (study_id, reason, detail, opened_at)
    SELECT study_id, 'AGE_UNKNOWN', 'no birth date', at FROM seed WHERE state = 'HELD' ORDER BY n
    """,
    # `claimable` as the trigger would keep it. The trigger itself reads the holds of every study,
    # which have no index during the fill.
    """
    INSERT INTO draft_requests (id, study_id, revision, priority, state, claimable, reason,
        prepared_blob, inputs_digest, preprocessing_digest, created_at, changed_at)
    SELECT request_id, study_id, 1, 2, listed.state, seed.state IN ('WAITING', 'PREPARED'),
        CASE listed.state WHEN 'SKIPPED' THEN 'not_chest' WHEN 'FAILED' THEN 'UNREADABLE'
            ELSE '' END,
        CASE WHEN listed.state IN ('PREPARED', 'DRAFTED') THEN 'prepared/' || request_id END,
        CASE WHEN listed.state IN ('PREPARED', 'DRAFTED') THEN lpad(n::text, 64, '0') END,
        CASE WHEN listed.state IN ('PREPARED', 'DRAFTED') THEN 'preprocessing' END,
        at, at
    FROM seed
    CROSS JOIN LATERAL (SELECT CASE seed.state WHEN 'HELD' THEN 'WAITING' ELSE seed.state END)
        AS listed (state)
    WHERE seed.state <> 'RECEIVING' ORDER BY n
    """,
    """
    UPDATE studies SET request_id = seed.request_id, completed_at = at
    FROM seed WHERE seed.study_id = studies.id AND seed.state <> 'RECEIVING'
    """,
    """
    INSERT INTO drafts (id, study_id, request_id, revision, purpose, text, findings, impression,
        model_name, model_version, bundle_digest, settings_digest, inputs_digest, notice, prompt,
        indication, indication_source, views, left_out, notes, timings, tokens, token_logprobs,
        cut, device, dtype, created_at)
    SELECT draft_id, study_id, request_id, 1, 'PRIMARY', :warning || ' Clear.', 'Clear.', '',
        'bench', '1', 'bundle', 'settings', lpad(n::text, 64, '0'), '', '', '', 'none',
        '[]', '[]', '[]', '{}', '{}', '{}', false, 'cpu', 'float32', at
    FROM seed WHERE state = 'DRAFTED' ORDER BY n
    """,
    """
    UPDATE draft_requests SET draft_id = seed.draft_id
    FROM seed WHERE seed.request_id = draft_requests.id AND seed.state = 'DRAFTED'
    """,
    """
    INSERT INTO events (at, study_id, request_id, kind, detail)
    SELECT at, study_id, NULL, 'ARRIVED', 'film' FROM seed ORDER BY n
    """,
    """
    INSERT INTO worklist_entries (study_id, state, priority, arrived_at, site_id)
    SELECT study_id, state, 2, at, (SELECT id FROM sites WHERE code = 'default')
    FROM seed ORDER BY n
    """,
    """
    INSERT INTO tallies (kind, name, site_id, number)
    SELECT 'STUDIES', state, sites.id, count(*) FROM seed JOIN sites ON sites.code = 'default'
    GROUP BY state, sites.id
    UNION ALL SELECT 'DRAFTS', '', NULL, count(*) FROM seed WHERE state = 'DRAFTED'
    UNION ALL SELECT 'OPEN_HOLDS', 'AGE_UNKNOWN', NULL, count(*) FROM seed WHERE state = 'HELD'
    """,
    # The work of each quarter of an hour of five years, however few studies there are.
    """
    INSERT INTO work_counts (quarter, kind, reason, worker, site_id, number)
    SELECT date_bin('15 minutes', now(), '2000-01-01 00:00:00+00') - n * interval '15 minutes',
        kind, '', kind || '@bench', sites.id, 5
    FROM generate_series(1, 175000) AS n, unnest(ARRAY['PREPARED', 'DRAFTED']) AS kind
    JOIN sites ON sites.code = 'default'
    """,
    # An order for each study, without a text, as the drafts have none.
    """
    INSERT INTO orders (id, identity, origin, sender, placer_order_number, filler_order_number,
        accession_numbers, accession_number_issuer, study_instance_uids, patient_id,
        patient_id_issuer, other_patient_ids, patient_name, patient_birth_date, patient_sex,
        visit_number, texts, procedure, site, received_at, changed_at)
    SELECT order_id, 'HL7|RIS|placer|' || n, 'HL7', 'RIS', n::text, '',
        ARRAY['A' || lpad(n::text, 10, '0')], '', '{}', 'P' || lpad((n / 2)::text, 9, '0'), '',
        '[]', 'FAMILY' || family || '^GIVEN' || n % 1009, '19700101', 'F', 'V' || n / 2, '[]',
        'XR CHEST', 'MAIN', at, at
    FROM seed ORDER BY n
    """,
    """
    INSERT INTO order_keys (order_id, kind, value)
    SELECT id, 'ACCESSION', accession_numbers[1] FROM orders
    UNION ALL SELECT id, 'PATIENT', patient_id FROM orders
    UNION ALL SELECT id, 'VISIT', visit_number FROM orders
    UNION ALL SELECT id, 'ORDER', placer_order_number FROM orders
    """,
    """
    INSERT INTO order_changes (order_id, at, kind, origin, sender, old_values, new_values)
    SELECT order_id, at, 'PLACED', 'HL7', 'RIS', '{}', '{}' FROM seed ORDER BY n
    """,
    """
    INSERT INTO study_orders (study_id, order_id, state, matched_by, matched_at)
    SELECT study_id, order_id, 'MATCHED', 'ACCESSION', at FROM seed
    WHERE state <> 'RECEIVING' ORDER BY n
    """,
    # Three campaigns: one that fetches, one whose window never opens, one that drafts again.
    """
    INSERT INTO campaigns (name, kind, pacs, bundle, purpose, skip_reported, time_zone, starts_on,
        state, is_open, walk_state, source, created_by)
    VALUES
        ('open', 'LIST', 'archive', NULL, 'PRIMARY', true, 'UTC', NULL, 'RUNNING', true, 'WALKED',
            '{}', 'bench'),
        ('closed', 'LIST', 'archive', NULL, 'PRIMARY', true, 'UTC', '9999-01-01', 'RUNNING', false,
            'WALKED', '{}', 'bench'),
        ('again', 'AGAIN', '', 'newer', 'COMPARISON', true, 'UTC', NULL, 'RUNNING', false,
            'WALKED', '{"from_bundle": "bundle"}', 'bench')
    """,
    """
    INSERT INTO campaign_studies (campaign_id, study_instance_uid, state, reason)
    SELECT campaigns.id, '2.25.9' || lpad(n::text, 9, '0'),
        CASE WHEN n % 10 = 0 THEN 'MISSING' WHEN n % 10 < 4 THEN 'DRAFTED' ELSE 'WAITING' END,
        CASE WHEN n % 10 = 0 THEN 'NOT_AT_PACS' ELSE '' END
    FROM seed, campaigns WHERE campaigns.name IN ('open', 'closed') ORDER BY n
    """,
    """
    INSERT INTO campaign_studies (campaign_id, study_instance_uid, study_id, state)
    SELECT campaigns.id, study_instance_uid, study_id, 'WAITING'
    FROM seed JOIN studies ON studies.id = seed.study_id, campaigns
    WHERE campaigns.name = 'again' AND seed.state = 'DRAFTED' ORDER BY n
    """,
    """
    INSERT INTO campaign_tallies (campaign_id, quarter, state, reason, number)
    SELECT campaign_id, now(), state, reason, count(*) FROM campaign_studies
    GROUP BY campaign_id, state, reason
    """,
    "DROP TABLE seed",
)

_INDEXES = text(
    """
    SELECT indexname, indexdef FROM pg_indexes
    WHERE schemaname = 'public' AND tablename = ANY(:tables)
        AND indexname::regclass NOT IN (SELECT conindid FROM pg_constraint)
    """
)


def fill(session: Session, studies: int, warning: str) -> None:
    """Insert studies with instances, requests, drafts, holds, first events, orders, campaigns.

    Args:
        session: the caller's transaction; the database's user is a superuser.
        studies: how many.
        warning: the line with which a draft begins.
    """
    wait_without_limit(session.connection())  # one statement may insert ten million rows
    for setting in (
        "statement_timeout = 0",
        "maintenance_work_mem = '1GB'",
        "work_mem = '256MB'",
        "synchronous_commit = off",
        "session_replication_role = replica",  # the triggers would do each row's work once more
    ):
        session.execute(text(f"SET LOCAL {setting}"))
    indexes = session.execute(_INDEXES, {"tables": list(TABLES)}).all()
    for name, _ in indexes:
        session.execute(text(f"DROP INDEX {name}"))
    states = [state for state, share in SHARES.items() for _ in range(share)]
    session.execute(
        text(_SEED),
        {
            "studies": studies,
            "states": states,
            "receiving": RECEIVING,
            "family_names": FAMILY_NAMES,
        },
    )
    for statement in _FILL:
        values = {"warning": warning} if ":warning" in statement else {}
        session.execute(text(statement), values)
    for _, definition in indexes:
        session.connection().exec_driver_sql(definition.replace("%", "%%"))

"""What an erasure deletes and changes, as data."""

from __future__ import annotations

STATEMENTS: tuple[tuple[str, str], ...] = (
    # Campaigns know studies by UID and number, too, also before these are here.
    (
        "campaign_files",
        "DELETE FROM campaign_files USING campaign_studies AS study"
        " WHERE study.campaign_id = campaign_files.campaign_id"
        " AND study.id = campaign_files.campaign_study_id"
        " AND (study.study_id = ANY (:studies) OR study.study_instance_uid = ANY (:uids)"
        " OR (study.study_instance_uid = '' AND study.accession_number = ANY (:numbers)))",
    ),
    (
        "campaign_studies",
        "DELETE FROM campaign_studies WHERE study_id = ANY (:studies)"
        " OR study_instance_uid = ANY (:uids)"
        " OR (study_instance_uid = '' AND accession_number = ANY (:numbers))",
    ),
    (
        # The last file of a walk may bear a name. A walk that has ended needs no position.
        "campaigns",
        "UPDATE campaigns SET walk_position = NULL WHERE walk_state <> 'WALKING'"
        " AND walk_position IS NOT NULL AND EXISTS (SELECT FROM unnest(CAST(:uids AS text[])"
        " || CAST(:words AS text[])) AS word WHERE position(word IN walk_position::text) > 0)",
    ),
    ("campaign_marks", "DELETE FROM campaign_marks WHERE study_id = ANY (:studies)"),
    ("discrepancy_rechecks", "DELETE FROM discrepancy_rechecks WHERE study_id = ANY (:studies)"),
    (
        "discrepancies",
        "DELETE FROM discrepancies WHERE study_id = ANY (:studies) OR report_id = ANY (:reports)",
    ),
    ("draft_comparisons", "DELETE FROM draft_comparisons WHERE study_id = ANY (:studies)"),
    (
        "final_comparisons",
        "DELETE FROM final_comparisons WHERE study_id = ANY (:studies)"
        " OR report_id = ANY (:reports)",
    ),
    ("study_queries", "DELETE FROM study_queries WHERE study_id = ANY (:studies)"),
    (
        "study_orders",
        "DELETE FROM study_orders WHERE study_id = ANY (:studies) OR order_id = ANY (:orders)",
    ),
    ("holds", "DELETE FROM holds WHERE study_id = ANY (:studies)"),
    ("emergency_accesses", "DELETE FROM emergency_accesses WHERE study_id = ANY (:studies)"),
    (
        # What REST answered to calls with a key names its patients by our ids, at least.
        "kept_answers",
        "DELETE FROM kept_answers WHERE EXISTS ("
        " SELECT FROM unnest(CAST(CAST(:studies AS uuid[]) || :orders || :reports || :messages"
        " || :aside AS text[]) || CAST(:uids || :words AS text[])) AS word"
        " WHERE position(word IN body) > 0 OR position(word IN shown::text) > 0)",
    ),
    ("study_locks", "DELETE FROM study_locks WHERE study_id = ANY (:studies)"),
    ("readings", "DELETE FROM readings WHERE study_id = ANY (:studies)"),
    ("working_texts", "DELETE FROM working_texts WHERE study_id = ANY (:studies)"),
    ("draft_outcomes", "DELETE FROM draft_outcomes WHERE study_id = ANY (:studies)"),
    ("report_scores", "DELETE FROM report_scores WHERE study_id = ANY (:studies)"),
    ("reviews", "DELETE FROM reviews WHERE study_id = ANY (:studies)"),
    ("studies", "UPDATE studies SET request_id = NULL WHERE id = ANY (:studies)"),
    ("draft_requests", "UPDATE draft_requests SET draft_id = NULL WHERE study_id = ANY (:studies)"),
    ("drafts", "DELETE FROM drafts WHERE study_id = ANY (:studies)"),
    ("draft_requests", "DELETE FROM draft_requests WHERE study_id = ANY (:studies)"),
    ("events", "DELETE FROM events WHERE study_id = ANY (:studies)"),
    (
        "rejections",
        "DELETE FROM rejections WHERE study_instance_uid = ANY (:uids)"
        " OR upper(btrim(patient ->> 'patient_id')) = ANY (:ids)",
    ),
    (
        "study_changes",
        # Of other studies, only what they once showed of this patient.
        "DELETE FROM study_changes WHERE study_id = ANY (:studies)"
        " OR (field LIKE 'patient\\_%' AND study_id IN ("
        "   SELECT study_id FROM study_changes WHERE field = 'patient_id'"
        "   AND (upper(btrim(old_value)) = ANY (:ids) OR upper(btrim(new_value)) = ANY (:ids)))"
        " AND (old_value = ANY (:spelled) OR new_value = ANY (:spelled)))",
    ),
    (
        "instances",
        "DELETE FROM instances WHERE study_id = ANY (:studies) OR id = ANY (:aside)",
    ),
    ("series", "DELETE FROM series WHERE study_id = ANY (:studies)"),
    ("studies", "UPDATE studies SET split_from = NULL WHERE split_from = ANY (:studies)"),
    ("studies", "DELETE FROM studies WHERE id = ANY (:studies)"),
    (
        "fhir_resources",
        "DELETE FROM fhir_resources WHERE (resource_type || '/' || id) = ANY (:resources)",
    ),
    (
        "order_changes",
        "DELETE FROM order_changes WHERE order_id = ANY (:orders) OR"
        " upper(btrim(old_values ->> 'patient_id')) = ANY (:ids)"
        " OR upper(btrim(new_values ->> 'patient_id')) = ANY (:ids)",
    ),
    ("orders", "DELETE FROM orders WHERE id = ANY (:orders)"),
    ("received_reports", "DELETE FROM received_reports WHERE id = ANY (:reports)"),
    (
        "patient_aliases",
        "DELETE FROM patient_aliases WHERE retired_id = ANY (:ids)"
        " OR upper(btrim(surviving_id)) = ANY (:ids)",
    ),
    ("received_messages", "DELETE FROM received_messages WHERE id = ANY (:messages)"),
    (
        "refusals",
        "UPDATE refusals SET sop_instance_uid = '' WHERE sop_instance_uid = ANY (:instances)",
    ),
)
"""What an erasure does, in an order that every foreign key allows."""

ANALYSED_TABLES = sorted(
    {table for table, _ in STATEMENTS} | {"worklist_entries", "audit_patients"}
)
"""Tables of which the planner keeps samples that may name the patient."""

"""Preparing waits for the orders that are being committed, in one statement.

Revision ID: 0025
Revises: 0024
"""

from __future__ import annotations

from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

# A lock that a transaction took is given back before its end by undoing a block alone, and an
# error of its own is the way to undo one. Other errors, as of lock_timeout, go on to the caller.
FUNCTION = """
CREATE FUNCTION wait_for_locks(lock_class integer, buckets integer[]) RETURNS void
    LANGUAGE plpgsql AS $$
DECLARE
    bucket integer;
BEGIN
    FOREACH bucket IN ARRAY buckets LOOP
        BEGIN
            PERFORM pg_advisory_xact_lock(lock_class, bucket);
            RAISE EXCEPTION 'given back' USING ERRCODE = 'ND001';
        EXCEPTION WHEN SQLSTATE 'ND001' THEN
            NULL;
        END;
    END LOOP;
END
$$;
"""


def upgrade() -> None:
    op.execute(FUNCTION)


def downgrade() -> None:
    op.execute("DROP FUNCTION wait_for_locks(integer, integer[])")

"""The tables' history (Alembic). One file a change; one that has landed is never edited."""

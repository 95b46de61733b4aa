"""The database: tables, engine, and `unit_of_work()`, which is one transaction.

A foreign key finds the other table by name, so the tables that refer to each other across modules
are known as soon as one of them is.
"""

from records.database import (  # noqa: F401 (their tables count too)
    bundle_tables,
    draft_tables,
    operation_tables,
    quality_tables,
    review_tables,
    site_tables,
    style_tables,
    tables,
    worklist_tables,
)

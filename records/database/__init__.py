"""The database: tables, engine, and `unit_of_work()`, which is one transaction."""

"""The database: the tables, the engine, and `unit_of_work()`, one transaction."""

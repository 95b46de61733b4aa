"""Backups: the database and the films that belong to it, encrypted, in one file."""

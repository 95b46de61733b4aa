"""The command, and all of it on one machine."""

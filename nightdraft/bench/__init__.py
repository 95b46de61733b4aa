"""Measurements, each a command of `nightdraft bench` with `--json FILE`."""

"""Phantoms sent as DICOM and read as a department's films are drafted as well as drawn ones."""

from __future__ import annotations

"""The panels of `nightdraft --help`, and the order of the commands in them."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup

PANELS = {
    "Run": (
        "demo",
        "station",
        "listen",
        "query",
        "retrieve",
        "work",
        "serve",
        "migrate",
        "phantoms",
        "send",
        "install",
        "constraints",
        "backup",
        "restore",
    ),
    "Look": (
        "status",
        "night",
        "doctor",
        "alarms",
        "list",
        "study",
        "holds",
        "refusals",
        "messages",
        "orders",
        "reports",
        "campaign",
        "discrepancies",
        "comparisons",
        "model",
        "quality",
        "trail",
        "blobs",
        "retention",
        "settings",
        "support-bundle",
    ),
    "Administer": ("account", "site", "token", "report-styles"),
    "Decide": ("decide", "release", "retry", "withdraw", "reinstate", "patients", "resume"),
    "Train": ("corpus", "train", "bundle", "calibrate"),
    "Measure": ("evaluate", "ablate", "bench"),
}
"""The commands of each panel, in the order in which a reader needs them."""


class PanelledGroup(TyperGroup):
    """The command `nightdraft`, whose help lists its commands in `PANELS`."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        ordered = {}
        for panel, names in PANELS.items():
            for name in names:
                if command := self.commands.get(name):
                    command.rich_help_panel = panel  # type: ignore[attr-defined]
                    ordered[name] = command
        self.commands = ordered | dict(self.commands)

"""Options of training whose names changed: the old ones are read in this version, with a warning.

An old name is hidden: no help shows it. It is read on the command line, in a variable
NIGHTDRAFT_<COMMAND>_<OPTION>, in a file for --config and in --set.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import typer
from typer.core import TyperCommand

RENAMED: Mapping[str, str] = {
    "accumulation": "gradient-accumulation-steps",
    "alpha": "lora-alpha",
    "batch": "batch-size",
    "checkpointing": "gradient-checkpointing",
    "drop-lines": "prior-line-dropout",
    "drop-priors": "prior-dropout",
    "eye-steps": "vision-steps",
    "most-target": "max-target-tokens",
    "no-head": "no-finding-head",
    "rank": "lora-rank",
    "rate-lora": "learning-rate-lora",
    "rate-whole": "learning-rate-full",
    "still": "no-augmentation",
    "untouched": "unaugmented-share",
    "validate": "validation-share",
    "words-steps": "text-steps",
}
"""Old name -> name, without the dashes in front."""


def warn_of_old_name(old: str, new: str) -> None:
    """Say on standard error that an old name was read, and what it is called now.

    Args:
        old: The old name, as it was given.
        new: The name, in the same form.
    """
    print(
        f"nightdraft: {old} is an old name of {new}: it is read in this version and will be "
        "refused in the next one",
        file=sys.stderr,
    )


class RenamingCommand(TyperCommand):
    """A command that also takes the old names of its options."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        """Parse the arguments, with each old name replaced by the name."""
        own = {option for parameter in self.params for option in parameter.opts}
        names = {
            f"--{old}": f"--{new}"
            for old, new in RENAMED.items()
            if f"--{new}" in own and f"--{old}" not in own
        }
        with _variables(ctx.auto_envvar_prefix, names):
            return super().parse_args(ctx, [_renamed(argument, names) for argument in args])


def _renamed(argument: str, names: Mapping[str, str]) -> str:
    option, equals, value = argument.partition("=")
    if option not in names:
        return argument
    warn_of_old_name(option, names[option])
    return f"{names[option]}{equals}{value}"


@contextmanager
def _variables(prefix: str | None, names: Mapping[str, str]) -> Iterator[None]:
    """A block in which a variable of an old name is one of the name, unless that is set, too."""
    added = []
    for old, new in names.items():
        old_variable, variable = (_variable(prefix, option) for option in (old, new))
        if prefix and old_variable in os.environ:
            warn_of_old_name(old_variable, variable)
            if variable not in os.environ:
                os.environ[variable] = os.environ[old_variable]
                added.append(variable)
    try:
        yield
    finally:
        for variable in added:
            del os.environ[variable]


def _variable(prefix: str | None, option: str) -> str:
    return f"{prefix}_{option.removeprefix('--').replace('-', '_').upper()}"

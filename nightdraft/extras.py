"""The extras of the package: parts of it that not every installation needs.

A server that only receives, drafts and serves needs none of the training's libraries.
"""

from __future__ import annotations

from importlib.util import find_spec

from records.errors import NotAllowed

TRAINING_MODULES = (
    "accelerate",
    "matplotlib",
    "nltk",
    "peft",
    "pycocoevalcap",
    "tensorboard",
)
"""What `nightdraft[train]` installs, by the names under which it is imported."""

PARQUET_MODULES = ("pyarrow",)
"""What `nightdraft[parquet]` installs."""


def require_training(activity: str) -> None:
    """Check that what trains and scores is installed, before anything has taken time.

    Args:
        activity: What was asked for, as the subject of a sentence.

    Raises:
        NotAllowed: The extra is not installed, or not all of it.
    """
    if missing := [name for name in TRAINING_MODULES if find_spec(name) is None]:
        raise NotAllowed(
            f"{activity} needs libraries that are not installed ({', '.join(missing)}): "
            "pip install 'nightdraft[train]'"
        )


def require_parquet(activity: str) -> None:
    """Check that what writes Parquet is installed, before anything has taken time.

    Args:
        activity: What was asked for, as the subject of a sentence.

    Raises:
        NotAllowed: The extra is not installed.
    """
    if missing := [name for name in PARQUET_MODULES if find_spec(name) is None]:
        raise NotAllowed(
            f"{activity} needs a library that is not installed ({', '.join(missing)}): "
            "pip install 'nightdraft[parquet]'"
        )

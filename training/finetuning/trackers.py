"""Experiment trackers by name, which write files beside the training and reach for no network.

    tensorboard   <stage>/tensorboard
    wandb         <training>/wandb, offline; `wandb sync` uploads it, if a person wants that
    mlflow        <training>/mlruns, MLflow's files

accelerate's trackers do the writing. They get numbers and the settings of the run: no text of the
corpus and no name of a study.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from records.errors import SettingsError

DEFAULT_TRACKERS = ("tensorboard",)
NONE = "none"
"""The name that stands for no tracker at all."""
PACKAGES = {
    "tensorboard": "'nightdraft[train]'",
    "wandb": "wandb",
    "mlflow": "mlflow-skinny",
}
"""Tracker -> what pip installs for it; each is imported by the tracker's name."""
PROJECT = "nightdraft"
"""The project (Weights & Biases) or experiment (MLflow) of all trainings."""
_OFFLINE = {
    "WANDB_MODE": "offline",
    "WANDB_SILENT": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ALLOW_FILE_STORE": "true",  # MLflow 3 writes files only where this says so
    "DO_NOT_TRACK": "true",
}
"""Variables with which these packages stay on this machine; they are read when one is imported."""


def require_trackers(names: Sequence[str]) -> tuple[str, ...]:
    """Check that the trackers exist and are installed, before a training begins.

    Args:
        names: Names of trackers; `none` alone stands for none of them.

    Returns:
        The names, each once.

    Raises:
        SettingsError: There is no such tracker, or its package is missing.
    """
    chosen = tuple(dict.fromkeys(name for name in names if name != NONE))
    for name in chosen:
        if name not in PACKAGES:
            raise SettingsError(
                f"there is no tracker {name!r}; there are {', '.join(PACKAGES)}, and {NONE}"
            )
        if find_spec(name) is None:
            raise SettingsError(
                f"the tracker {name} needs a package that is not installed: "
                f"pip install {PACKAGES[name]}, or leave --tracker {name} out"
            )
    return chosen


class Trackers:
    """The open trackers of a run. One that fails is left out from then on; the run goes on.

    Args:
        names: As `require_trackers` returns them.
        folder: The stage's folder.
        steps_done: Steps that were done before.
        settings: The run's settings, by name.
        failed: Is called with the name of a tracker that failed, and with its error.

    Raises:
        SettingsError: A tracker cannot be opened.
    """

    def __init__(
        self,
        names: Sequence[str],
        folder: Path,
        steps_done: int,
        settings: Mapping[str, Any],
        failed: Callable[[str, Exception], None],
    ) -> None:
        self._failed = failed
        self._open: dict[str, Any] = {}
        for name in names:
            try:
                self._open[name] = _OPENERS[name](folder, steps_done, dict(settings))
            except Exception as error:
                self.close()
                raise SettingsError(
                    f"the tracker {name} cannot be opened in {folder} ({type(error).__name__}: "
                    f"{error}): leave --tracker {name} out, or mend that"
                ) from error

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Give every tracker the numbers of a step."""
        for name, tracker in list(self._open.items()):
            named = values if name == "tensorboard" else {_plain(k): v for k, v in values.items()}
            try:
                tracker.log(named, step=step)
            except Exception as error:  # a curve that cannot be drawn ends no training
                del self._open[name]
                self._failed(name, error)

    def close(self) -> None:
        """Let the trackers write what they hold back."""
        for name, tracker in self._open.items():
            try:
                tracker.finish()
            except Exception as error:
                self._failed(name, error)
        self._open = {}


def _open_tensorboard(folder: Path, steps_done: int, _: dict[str, Any]) -> Any:
    from accelerate.tracking import TensorBoardTracker

    # What a killed attempt wrote of later steps is not shown.
    tracker = TensorBoardTracker("tensorboard", folder, purge_step=steps_done + 1)
    tracker.start()
    return tracker


def _open_wandb(folder: Path, steps_done: int, settings: dict[str, Any]) -> Any:
    os.environ.update(_OFFLINE)
    import wandb
    from accelerate.tracking import WandBTracker

    tracker = WandBTracker(
        PROJECT,
        name=folder.name,
        # The parts of a run that was resumed have one id: `wandb sync --append` joins them.
        id=_run_id(folder),
        dir=str(folder.parent),
        mode="offline",
        settings=wandb.Settings(
            silent=True,
            console="off",  # what is printed stays here
            disable_git=True,
            save_code=False,
            x_disable_stats=True,
            x_disable_machine_info=True,
        ),
    )
    tracker.start()
    tracker.store_init_configuration({**settings, "resumed_after_step": steps_done})
    return tracker


def _open_mlflow(folder: Path, steps_done: int, settings: dict[str, Any]) -> Any:
    os.environ.update(_OFFLINE)
    import mlflow
    from accelerate.tracking import MLflowTracker

    # accelerate lets these variables win, but the run is of this folder.
    for variable in ("MLFLOW_EXPERIMENT_NAME", "MLFLOW_RUN_ID"):
        os.environ.pop(variable, None)
    mlflow.set_tracking_uri((folder.parent / "mlruns").absolute().as_uri())
    kept = folder / "mlflow-run"
    run_id = kept.read_text().strip() if steps_done and kept.is_file() else None
    tracker = MLflowTracker(PROJECT, run_id=run_id, run_name=folder.name)
    tracker.start()
    kept.write_text(tracker.tracker.info.run_id + "\n")
    if run_id is None:
        tracker.store_init_configuration(settings)
    return tracker


_OPENERS: dict[str, Callable[[Path, int, dict[str, Any]], Any]] = {
    "tensorboard": _open_tensorboard,
    "wandb": _open_wandb,
    "mlflow": _open_mlflow,
}


def flat_settings(identity: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a run for a tracker: those of the identity that hold one value each."""
    settings = {"stage": identity["stage"]["name"], "base": identity.get("base", "")}
    for part in ("settings", "showing"):
        for name, value in identity[part].items():
            single = isinstance(value, bool | int | float | str)
            settings[name] = value if single else json.dumps(value)
    return settings


def _plain(name: str) -> str:
    """A name of a number that every tracker takes."""
    return re.sub(r"[^\w\-. /]", "", name)


def _run_id(folder: Path) -> str:
    return hashlib.sha256(str(folder.absolute()).encode()).hexdigest()[:16]

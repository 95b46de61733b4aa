"""The settings of `nightdraft train`, one validated object, and where its values come from.

A value is given by an option, by --set, by a variable NIGHTDRAFT_TRAIN_<COMMAND>_<OPTION>, or in
the TOML file of --config; the first of these wins. Names are the same everywhere.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from inspect import Parameter
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

import tomli_w
import typer
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from nightdraft.cli.renamed_options import RENAMED, warn_of_old_name
from records.errors import SettingsError

PRECEDENCE = (
    "An option wins over --set, --set over a variable NIGHTDRAFT_TRAIN_*, a variable over the "
    "file, the file over the default."
)
CALL_OPTIONS = ("config", "set", "resume", "fresh", "replace", "dry-run", "json", "device")
"""Options of one call: they say how it proceeds or where it runs, not what is trained."""


class TrainOptions(BaseModel):
    """What is trained and how. The alias of a field is the option's name, and the key in a file."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        validate_by_name=True,
        alias_generator=lambda name: name.replace("_", "-"),
    )

    out: Path = Field(description="The bundle's folder.")
    base: str = Field(description="The bundle to start from.")
    corpus: str = Field(description="NAME or NAME:PATH; nightdraft corpus check.")
    bundle_name: str = Field("", alias="name", description="Name of the bundle; else the folder's.")
    version: str = Field("1", description="Version of the bundle.")
    licence: str | None = Field(None, description="Licence of the bundle; else the base's.")
    epochs: float = Field(5.0, ge=0, description="Times round the corpus.")
    steps: int = Field(0, ge=0, description="Steps of each stage; 0: as many as the epochs.")
    batch_size: int = Field(3, ge=1, description="Studies that a process reads at once.")
    gradient_accumulation_steps: int = Field(4, ge=1, description="Batches in a step.")
    precision: Literal["auto", "float16", "bfloat16", "float32"] = Field(
        "auto", description="Precision of frozen weights; auto: float16 on a GPU, float32 on a CPU."
    )
    gradient_checkpointing: bool = Field(False, description="Less memory, a third more time.")
    learning_rate_lora: float | None = Field(None, description="Learning rate of LoRA; else 5e-4.")
    learning_rate_full: float | None = Field(
        None, description="Learning rate of what trains in full; else 1e-4."
    )
    lora_rank: int = Field(16, ge=1, description="Rank of LoRA.")
    lora_alpha: float = Field(32.0, description="Alpha of LoRA.")
    lora_dropout: float = Field(0.05, ge=0, le=0.9, description="Dropout of LoRA.")
    prompt: tuple[str, ...] = Field(
        ("context",),
        min_length=1,
        description="context, predicted, oracle_iu, oracle_mimic; several.",
    )
    predicted_by: str = Field(
        "",
        description="Bundle that fills the prompt `predicted`; it should not have learnt from "
        "these studies.",
    )
    prior_dropout: float = Field(0.25, ge=0, le=1, description="Share of samples without priors.")
    prior_line_dropout: float = Field(
        0.1, ge=0, le=1, description="How often each prior is left out."
    )
    keep_comparisons: bool = Field(False, description="Keep comparisons, as in the paper.")
    no_augmentation: bool = Field(False, description="Change no film at random, as in the paper.")
    unaugmented_share: float = Field(
        1 / 3, ge=0, le=1, description="Share of films left as they are."
    )
    noise: float = Field(0.06, ge=0, le=0.5, description="Most noise, as a part of the range.")
    blur: float = Field(0.8, ge=0, le=5, description="Most blur, in pixels.")
    target: Literal["", "findings", "report"] = Field(
        "", description="What the model learns to write; else as the corpus has it."
    )
    split: str = Field("", description="given, paper, r2gen, official, patients.")
    validation_share: float = Field(
        0.0, ge=0, le=0.5, description="Share of patients that is held out for validation."
    )
    chexbert: Path | None = Field(
        None, description="Folder of CheXbert's weights, for the labels of oracle_mimic."
    )
    limit: int = Field(0, ge=0, description="Most examples; 0: all.")
    max_target_tokens: int = Field(150, ge=8, description="Longest target, in tokens.")
    save_every: int = Field(200, ge=0, description="Steps between checkpoints.")
    validate_every: int = Field(
        0,
        ge=0,
        description="Steps between validations; 0: at the end of a stage alone, or ten times in "
        "it with --best-checkpoint.",
    )
    best_checkpoint: bool = Field(
        False, description="Take the step with the lowest validation loss, not the last one."
    )
    early_stopping_patience: int = Field(
        0, ge=0, description="End after N validations without a lower loss; 0: never."
    )
    tracker: tuple[str, ...] = Field(
        ("tensorboard",),
        min_length=1,
        description="tensorboard, wandb (offline), mlflow (files), none; several.",
    )
    seed: int = Field(0, ge=0, description="Seed of every random draw.")
    no_finding_head: bool = Field(False, description="Fit no finding head.")
    score: int = Field(200, ge=0, description="Studies of the test split to score the bundle on.")


def _key(name: str) -> str:
    return TrainOptions.model_fields[name].alias or name


_FIELDS: dict[str, FieldInfo] = {
    _key(name): field for name, field in TrainOptions.model_fields.items()
}
"""Option's name -> field."""


# ---- On the command line ----


def option_parameters() -> list[Parameter]:
    """The parameters of a command that has every field of `TrainOptions` as an option.

    Their values are for the help and for `resolve_options`, which knows whether they were given.
    """
    parameters = []
    for key, field in _FIELDS.items():
        low, high = _bounds(field)
        option = typer.Option(f"--{key}", help=field.description, min=low, max=high)
        kind: Any = list[str] if _kind(field) is tuple else field.annotation
        default = None if field.is_required() else field.default
        parameters.append(
            Parameter(
                _parameter(key),
                Parameter.KEYWORD_ONLY,
                default=list(default) if isinstance(default, tuple) else default,
                annotation=Annotated[kind | None if default is None else kind, option],
            )
        )
    return parameters


def _parameter(key: str) -> str:
    return key.replace("-", "_")


# ---- From all sources ----


@dataclass(frozen=True)
class _Source:
    """Values by key, and how to name one of them in an error.

    Args:
        values: Values by the option's name.
        label: Names the origin of a value by the option's name.
        kind: "typed" (checked by the command line already), "toml" (types must fit) or "text".
    """

    values: dict[str, Any]
    label: Callable[[str], str]
    kind: Literal["typed", "toml", "text"] = "typed"


def resolve_options(
    context: typer.Context, config: Path | None, assignments: Sequence[str]
) -> TrainOptions:
    """The settings of a call.

    Args:
        context: The call, with the values of options and variables.
        config: The TOML file of --config.
        assignments: The NAME=VALUE of each --set.

    Raises:
        SettingsError: The file cannot be read; a name is unknown; a value is of the wrong type or
            out of range; or a setting without a default is missing.
    """
    parameters = {key: context.params[_parameter(key)] for key in _FIELDS}
    sources = [
        *_file_source(config),
        _Source(
            _from(context, parameters, "ENVIRONMENT"),
            lambda key: f"{context.auto_envvar_prefix}_{_parameter(key).upper()}",
        ),
        _Source(_assigned(assignments), lambda key: f"--set {key}", "text"),
        _Source(_from(context, parameters, "COMMANDLINE"), lambda key: f"--{key}"),
    ]
    values: dict[str, Any] = {}
    for source in sources:
        for key, value in source.values.items():
            values[key] = _checked(key, value, source)
    for key, field in _FIELDS.items():
        if field.is_required() and key not in values:
            raise SettingsError(
                f"{key} is missing: give --{key}, or `{key} = ...` in a file for --config"
            )
    return TrainOptions.model_validate(values)


def _from(context: typer.Context, parameters: dict[str, Any], source: str) -> dict[str, Any]:
    values = {}
    for key, value in parameters.items():
        origin = context.get_parameter_source(_parameter(key))
        if origin is not None and origin.name == source:
            values[key] = value
    return values


def _file_source(config: Path | None) -> Iterator[_Source]:
    if config is None:
        return
    try:
        values = tomllib.loads(config.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"--config: {config} cannot be read ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"--config: {config} is not TOML: {error}") from error
    yield _Source(_named(values, str(config)), lambda key: f"{config}: {key}", "toml")


def _assigned(assignments: Sequence[str]) -> dict[str, str]:
    values = {}
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not equals:
            raise SettingsError(f"--set {assignment}: give NAME=VALUE, as in --set batch=2")
        values[key.strip()] = value.strip()
    return _named(values, "--set")


def _named(values: dict[str, Any], where: str) -> dict[str, Any]:
    """The values of a source by the names of today.

    Raises:
        SettingsError: A name is unknown, or a value is given under its name and the old one.
    """
    named: dict[str, Any] = {}
    for given, value in values.items():
        key = given if given in _FIELDS else RENAMED.get(given, given)
        if key != given and key in _FIELDS:
            if key in values:
                raise SettingsError(
                    f"{where}: {given} is an old name of {key}, and both are given: leave {given} "
                    "out"
                )
            warn_of_old_name(f"{where}: {given}", key)
        _check_name(key, where)
        named[key] = value
    return named


def _check_name(key: str, where: str) -> None:
    if key in _FIELDS:
        return
    if key in CALL_OPTIONS:
        raise SettingsError(
            f"{where}: {key} is an option of one call, not a setting: give it as --{key}"
        )
    close = get_close_matches(key, [*_FIELDS, *RENAMED], n=1)
    suggestion = f"did you mean {RENAMED.get(close[0], close[0])}? " if close else ""
    raise SettingsError(
        f"{where}: there is no setting {key!r}; {suggestion}The settings are {', '.join(_FIELDS)}"
    )


def _checked(key: str, value: Any, source: _Source) -> Any:
    field = _FIELDS[key]
    kind: Any = Annotated[field.annotation, None, *field.metadata]  # one more is needed by typing
    adapter = TypeAdapter(kind, config=ConfigDict(allow_inf_nan=False))
    try:
        if source.kind == "toml":  # as JSON, so that a text can be a path
            return adapter.validate_json(json.dumps(value, default=str), strict=True)
        if source.kind == "text" and _kind(field) is not tuple:
            return adapter.validate_strings(value)
        return adapter.validate_python(value.split(",") if source.kind == "text" else value)
    except ValidationError as error:
        raise SettingsError(f"{source.label(key)} is {value!r}: give {_allowed(field)}") from error


def _kind(field: FieldInfo) -> Any:
    """The type of a field's values: of `X | None`, X; a tuple and a Literal by their origin."""
    annotation: Any = field.annotation
    if NoneType in get_args(annotation):
        annotation = next(kind for kind in get_args(annotation) if kind is not NoneType)
    return get_origin(annotation) or annotation


def _bounds(field: FieldInfo) -> tuple[Any, Any]:
    """The least and the greatest value; None without such a bound."""
    lows = [rule.ge for rule in field.metadata if hasattr(rule, "ge")]
    highs = [rule.le for rule in field.metadata if hasattr(rule, "le")]
    return next(iter(lows), None), next(iter(highs), None)


def _allowed(field: FieldInfo) -> str:
    """What a field's value may be, in words."""
    kind = _kind(field)
    if kind is Literal:
        return f"one of {', '.join(map(repr, get_args(field.annotation)))}"
    description = {
        bool: "true or false",
        int: "a whole number",
        float: "a number",
        tuple: "a list of texts",
        Path: "a path as text",
        str: "a text",
    }[kind]
    low, high = _bounds(field)
    if low is None:
        return description
    return (
        f"{description} of at least {low}"
        if high is None
        else f"{description} from {low} to {high}"
    )


# ---- To a file ----


def write_config(path: Path, options: TrainOptions, command: str) -> None:
    """Write the settings as a TOML file that --config takes.

    Args:
        path: The file.
        options: The settings in effect.
        command: stage1, stage2 or both.
    """
    values = options.model_dump(by_alias=True, exclude_none=True, mode="json")
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.write_text(
        "# The settings of this training. To repeat it:\n"
        f"# nightdraft train {command} --config {path.name} --out ANOTHER_FOLDER\n\n"
        + tomli_w.dumps(values),
        encoding="utf-8",
    )
    fresh.rename(path)

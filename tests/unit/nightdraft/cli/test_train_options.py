"""The settings of `nightdraft train`: from which source a value comes, and what is refused."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from nightdraft.cli import renamed_options, train_options
from nightdraft.cli import train as commands
from nightdraft.cli.main import app
from nightdraft.cli.renamed_options import RENAMED, warn_of_old_name
from nightdraft.cli.train_options import TrainOptions, resolve_options, write_config
from records.errors import SettingsError

REQUIRED = ["--out", "made", "--base", "demo", "--corpus", "phantoms:ward"]


def resolve(
    monkeypatch: pytest.MonkeyPatch, *arguments: str, env: dict[str, str] | None = None
) -> TrainOptions:
    """The settings that `nightdraft train both` would train with."""
    resolved: list[TrainOptions] = []

    class Resolved(Exception):
        pass

    def capture(*sources: Any) -> None:
        resolved.append(resolve_options(*sources))
        raise Resolved

    monkeypatch.setattr(commands, "resolve_options", capture)
    result = CliRunner().invoke(app, ["train", "both", *arguments], env=env)
    if not isinstance(result.exception, Resolved):
        raise result.exception or AssertionError(result.output)
    return resolved[0]


def config(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "settings.toml"
    path.write_text(text)
    return path


def test_without_a_file_the_defaults_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    options = resolve(monkeypatch, *REQUIRED)
    assert options == TrainOptions(out=Path("made"), base="demo", corpus="phantoms:ward")


def test_an_option_wins_over_set_over_a_variable_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = config(
        tmp_path, "batch-size = 5\nlora-rank = 5\nlora-alpha = 5.0\nsteps = 5\nseed = 5\n"
    )
    options = resolve(
        monkeypatch, *REQUIRED, "--config", str(path), "--set", "lora-alpha=7", "--set", "steps=7",
        "--steps", "8",
        env={"NIGHTDRAFT_TRAIN_BOTH_LORA_RANK": "6", "NIGHTDRAFT_TRAIN_BOTH_LORA_ALPHA": "6",
             "NIGHTDRAFT_TRAIN_BOTH_STEPS": "6"},
    )  # fmt: skip
    assert (options.batch_size, options.lora_rank, options.lora_alpha, options.steps) == (
        5,
        6,
        7.0,
        8,
    )
    assert (options.seed, options.gradient_accumulation_steps) == (5, 4)


def test_a_default_on_the_command_line_wins_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = config(tmp_path, "batch-size = 5\n")
    assert (
        resolve(monkeypatch, *REQUIRED, "--config", str(path), "--batch-size", "3").batch_size == 3
    )


def test_every_kind_of_value_comes_from_every_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = TrainOptions(
        out=Path("made"),
        base="demo",
        corpus="phantoms:ward",
        bundle_name="ward",
        epochs=2,
        no_augmentation=True,
        prompt=("context", "none"),
        target="report",
        validation_share=0.1,
        score=3,
    )
    path = config(
        tmp_path,
        'out = "made"\nbase = "demo"\ncorpus = "phantoms:ward"\nname = "ward"\nepochs = 2\n'
        'no-augmentation = true\nprompt = ["context", "none"]\ntarget = "report"\n'
        "validation-share = 0.1\nscore = 3\n",
    )
    assert resolve(monkeypatch, "--config", str(path)) == expected
    pairs = ["name=ward", "epochs=2", "no-augmentation=true", "prompt=context,none",
             "target=report", "validation-share=0.1", "score=3"]  # fmt: skip
    assignments = [part for pair in pairs for part in ("--set", pair)]
    assert resolve(monkeypatch, *REQUIRED, *assignments) == expected
    options = ["--name", "ward", "--epochs", "2", "--no-augmentation", "--prompt", "context",
               "--prompt", "none", "--target", "report", "--validation-share", "0.1",
               "--score", "3"]  # fmt: skip
    assert resolve(monkeypatch, *REQUIRED, *options) == expected
    names = {"NAME": "ward", "EPOCHS": "2", "NO_AUGMENTATION": "1", "PROMPT": "context none",
             "TARGET": "report", "VALIDATION_SHARE": "0.1", "SCORE": "3"}  # fmt: skip
    env = {f"NIGHTDRAFT_TRAIN_BOTH_{name}": value for name, value in names.items()}
    assert resolve(monkeypatch, *REQUIRED, env=env) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "bach-size = 2",
            r"settings\.toml: there is no setting 'bach-size'; did you mean batch-size\?",
        ),
        ("learning_rate_lora = 1e-3", r"no setting 'learning_rate_lora'; did you mean learning-"),
        ("rate_lora = 1e-3", r"no setting 'rate_lora'; did you mean learning-rate-lora\?"),
        ("resume = true", "resume is an option of one call, not a setting: give it as --resume"),
        (
            'batch-size = "2"',
            r"settings\.toml: batch-size is '2': give a whole number of at least 1",
        ),
        ("batch-size = 0", "batch-size is 0: give a whole number of at least 1"),
        ("batch-size = true", "batch-size is True: give a whole number of at least 1"),
        ("lora-dropout = 2.0", r"lora-dropout is 2\.0: give a number from 0 to 0\.9"),
        ("lora-alpha = nan", "lora-alpha is nan: give a number"),
        ('no-augmentation = "yes"', "no-augmentation is 'yes': give true or false"),
        ('prompt = "context"', "prompt is 'context': give a list of texts"),
        ("version = 1", "version is 1: give a text"),
        ('precision = "half"', "precision is 'half': give one of 'auto', 'float16'"),
        ("[train]\nbatch = 2", "there is no setting 'train'"),
        ("batch 2", r"settings\.toml is not TOML: .*line 1"),
    ],
)
def test_a_wrong_file_is_refused_with_its_name_the_key_and_what_is_allowed(
    text: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = config(tmp_path, text)
    with pytest.raises(SettingsError, match=message):
        resolve(monkeypatch, *REQUIRED, "--config", str(path))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "batch-size"], "--set batch-size: give NAME=VALUE"),
        (["--set", "bach=2"], "--set: there is no setting 'bach'"),
        (
            ["--set", "batch-size=two"],
            "--set batch-size is 'two': give a whole number of at least 1",
        ),
        (["--config", "absent.toml"], r"absent\.toml cannot be read \(No such file"),
    ],
)
def test_a_wrong_option_is_refused(
    arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SettingsError, match=message):
        resolve(monkeypatch, *REQUIRED, *arguments)


def test_what_has_no_default_must_be_given_somewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match="corpus is missing: give --corpus, or `corpus = "):
        resolve(monkeypatch, *REQUIRED[:4])


def test_what_is_written_is_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = TrainOptions(
        out=Path('a "b"/ü'),
        base="demo",
        corpus="phantoms",
        learning_rate_lora=1e-3,
        prompt=("none",),
    )
    path = tmp_path / "new" / "config.toml"
    write_config(path, options, "both")
    assert "nightdraft train both --config" in path.read_text()
    values = tomllib.loads(path.read_text(encoding="utf-8"))
    assert values["learning-rate-lora"] == 1e-3
    assert "learning-rate-full" not in values
    assert resolve(monkeypatch, "--config", str(path)) == options


# ---- Old names ----


OLD_VALUES = {
    "batch": "5", "accumulation": "7", "rate-lora": "0.001", "rate-whole": "0.002", "rank": "8",
    "alpha": "9", "drop-priors": "0.5", "drop-lines": "0.6", "untouched": "0.7",
    "most-target": "99", "validate": "0.2",
}  # fmt: skip
OLD_FLAGS = ("still", "no-head", "checkpointing")
UNDER_NEW_NAMES = TrainOptions(
    out=Path("made"), base="demo", corpus="phantoms:ward", batch_size=5,
    gradient_accumulation_steps=7, learning_rate_lora=0.001, learning_rate_full=0.002, lora_rank=8,
    lora_alpha=9.0, prior_dropout=0.5, prior_line_dropout=0.6, unaugmented_share=0.7,
    max_target_tokens=99, validation_share=0.2, no_augmentation=True, no_finding_head=True,
    gradient_checkpointing=True,
)  # fmt: skip


@pytest.mark.parametrize("source", ["option", "option=value", "set", "variable", "file"])
def test_every_old_name_is_read_from_every_source_with_a_warning(
    source: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments, env = [*REQUIRED], {}
    if source == "option":
        arguments += [part for k, v in OLD_VALUES.items() for part in (f"--{k}", v)]
        arguments += [f"--{flag}" for flag in OLD_FLAGS]
    elif source == "option=value":
        arguments += [f"--{key}={value}" for key, value in OLD_VALUES.items()]
        arguments += [f"--{flag}" for flag in OLD_FLAGS]
    elif source == "set":
        pairs = [*OLD_VALUES.items(), *((flag, "true") for flag in OLD_FLAGS)]
        arguments += [part for k, v in pairs for part in ("--set", f"{k}={v}")]
    elif source == "variable":
        pairs = [*OLD_VALUES.items(), *((flag, "1") for flag in OLD_FLAGS)]
        env = {f"NIGHTDRAFT_TRAIN_BOTH_{k.replace('-', '_').upper()}": v for k, v in pairs}
    else:
        text = "".join(f"{key} = {value}\n" for key, value in OLD_VALUES.items())
        text += "".join(f"{flag} = true\n" for flag in OLD_FLAGS)
        arguments += ["--config", str(config(tmp_path, text))]
    warnings: list[tuple[str, str]] = []
    for module in (renamed_options, train_options):
        monkeypatch.setattr(
            module, "warn_of_old_name", lambda old, new: warnings.append((old, new))
        )
    assert resolve(monkeypatch, *arguments, env=env) == UNDER_NEW_NAMES
    assert len(warnings) == len(OLD_VALUES) + len(OLD_FLAGS)
    assert all(new.lower().replace("_", "-").endswith(RENAMED[key]) for (_, new), key in zip(
        sorted(warnings), sorted((*OLD_VALUES, *OLD_FLAGS)), strict=True))  # fmt: skip


def test_the_warning_names_both_and_the_help_shows_the_new_name_alone(
    capfd: pytest.CaptureFixture[str],
) -> None:
    warn_of_old_name("--rate-lora", "--learning-rate-lora")
    assert "--rate-lora is an old name of --learning-rate-lora" in capfd.readouterr().err
    for command in (["train", "both"], ["train", "head"], ["train", "phantoms"], ["ablate"]):
        shown = CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": "200"}).output
        assert not [old for old in RENAMED if f"--{old} " in shown], command
        assert "-- " not in shown


def test_what_is_given_under_both_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    env = {"NIGHTDRAFT_TRAIN_BOTH_BATCH": "6", "NIGHTDRAFT_TRAIN_BOTH_BATCH_SIZE": "7"}
    assert resolve(monkeypatch, *REQUIRED, env=env).batch_size == 7
    assert resolve(monkeypatch, *REQUIRED, "--batch", "8", env=env).batch_size == 8
    with pytest.raises(SettingsError, match="batch is an old name of batch-size, and both are"):
        resolve(
            monkeypatch, *REQUIRED, "--config", str(config(tmp_path, "batch = 2\nbatch-size = 3"))
        )


@pytest.mark.parametrize(
    ("command", "old", "new"),
    [
        (["ablate", "--out", "x"], ["--batch", "0"], "--batch-size"),
        (["train", "head", "demo"], ["--validate", "0.9"], "--validation-share"),
        (["train", "phantoms", "--out", "x"], ["--eye-steps=0"], "--vision-steps"),
    ],
)
def test_other_commands_take_the_old_names_too(
    command: list[str], old: list[str], new: str
) -> None:
    """The value is out of range, so the command's own check names the option that was read."""
    result = CliRunner().invoke(app, [*command, *old], env={"COLUMNS": "200"})
    assert result.exit_code == 2
    assert f"Invalid value for '{new}'" in result.output

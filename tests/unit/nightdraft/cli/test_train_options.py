"""The settings of `nightdraft train`: from which source a value comes, and what is refused."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from nightdraft.cli import train as commands
from nightdraft.cli.main import app
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
    path = config(tmp_path, "batch = 5\nrank = 5\nalpha = 5.0\nsteps = 5\nseed = 5\n")
    options = resolve(
        monkeypatch, *REQUIRED, "--config", str(path), "--set", "alpha=7", "--set", "steps=7",
        "--steps", "8",
        env={"NIGHTDRAFT_TRAIN_BOTH_RANK": "6", "NIGHTDRAFT_TRAIN_BOTH_ALPHA": "6",
             "NIGHTDRAFT_TRAIN_BOTH_STEPS": "6"},
    )  # fmt: skip
    assert (options.batch, options.rank, options.alpha, options.steps) == (5, 6, 7.0, 8)
    assert (options.seed, options.accumulation) == (5, 4)


def test_a_default_on_the_command_line_wins_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = config(tmp_path, "batch = 5\n")
    assert resolve(monkeypatch, *REQUIRED, "--config", str(path), "--batch", "3").batch == 3


def test_every_kind_of_value_comes_from_every_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = TrainOptions(
        out=Path("made"),
        base="demo",
        corpus="phantoms:ward",
        bundle_name="ward",
        epochs=2,
        still=True,
        prompt=("context", "none"),
        target="report",
        validation_share=0.1,
        score=3,
    )
    path = config(
        tmp_path,
        'out = "made"\nbase = "demo"\ncorpus = "phantoms:ward"\nname = "ward"\nepochs = 2\n'
        'still = true\nprompt = ["context", "none"]\ntarget = "report"\nvalidate = 0.1\n'
        "score = 3\n",
    )
    assert resolve(monkeypatch, "--config", str(path)) == expected
    pairs = ["name=ward", "epochs=2", "still=true", "prompt=context,none", "target=report",
             "validate=0.1", "score=3"]  # fmt: skip
    assignments = [part for pair in pairs for part in ("--set", pair)]
    assert resolve(monkeypatch, *REQUIRED, *assignments) == expected
    options = ["--name", "ward", "--epochs", "2", "--still", "--prompt", "context", "--prompt",
               "none", "--target", "report", "--validate", "0.1", "--score", "3"]  # fmt: skip
    assert resolve(monkeypatch, *REQUIRED, *options) == expected
    names = {"NAME": "ward", "EPOCHS": "2", "STILL": "1", "PROMPT": "context none",
             "TARGET": "report", "VALIDATE": "0.1", "SCORE": "3"}  # fmt: skip
    env = {f"NIGHTDRAFT_TRAIN_BOTH_{name}": value for name, value in names.items()}
    assert resolve(monkeypatch, *REQUIRED, env=env) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bach = 2", r"settings\.toml: there is no setting 'bach'; did you mean batch\?"),
        ("rate_lora = 1e-3", r"no setting 'rate_lora'; did you mean rate-lora\?"),
        ("resume = true", "resume is an option of one call, not a setting: give it as --resume"),
        ('batch = "2"', r"settings\.toml: batch is '2': give a whole number of at least 1"),
        ("batch = 0", "batch is 0: give a whole number of at least 1"),
        ("batch = true", "batch is True: give a whole number of at least 1"),
        ("lora-dropout = 2.0", r"lora-dropout is 2\.0: give a number from 0 to 0\.9"),
        ("alpha = nan", "alpha is nan: give a number"),
        ('still = "yes"', "still is 'yes': give true or false"),
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
        (["--set", "batch"], "--set batch: give NAME=VALUE"),
        (["--set", "bach=2"], "--set: there is no setting 'bach'"),
        (["--set", "batch=two"], "--set batch is 'two': give a whole number of at least 1"),
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
        out=Path('a "b"/ü'), base="demo", corpus="phantoms", rate_lora=1e-3, prompt=("none",)
    )
    path = tmp_path / "new" / "config.toml"
    write_config(path, options, "both")
    assert "nightdraft train both --config" in path.read_text()
    values = tomllib.loads(path.read_text(encoding="utf-8"))
    assert values["rate-lora"] == 1e-3
    assert "rate-whole" not in values
    assert resolve(monkeypatch, "--config", str(path)) == options

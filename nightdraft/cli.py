"""The command `nightdraft`: every part, every question, one line a problem.

Options that are settings have the setting's name and win over its variable; all others have the
variable NIGHTDRAFT_<COMMAND>_<OPTION>. Knows commands; each does its work elsewhere, and imports
that only when it is called, so that `nightdraft status` answers at once.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from records.errors import NightdraftError, NotAllowed, SettingsError, terse
from records.settings import Settings, settings

if TYPE_CHECKING:
    from rich.console import Console

app = typer.Typer(
    help="Drafts chest X-ray reports while the department sleeps. Drafts are for a radiologist to "
    "read, correct and sign, and for nobody else.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "auto_envvar_prefix": "NIGHTDRAFT",
    },
)
work = typer.Typer(help="Run one worker.", no_args_is_help=True)
train = typer.Typer(help="Train a model.", no_args_is_help=True)
bundle = typer.Typer(help="Look at a model's bundle.", no_args_is_help=True)
bench = typer.Typer(help="Measure.", no_args_is_help=True)
for name, group in (("work", work), ("train", train), ("bundle", bundle), ("bench", bench)):
    app.add_typer(group, name=name)


def _choose(**given: object) -> Settings:
    """Put options into the environment, where this process and its children read settings.

    Raises:
        SettingsError: a value is wrong; it names the variable.
    """
    for option, value in given.items():
        if value is not None:
            os.environ[f"NIGHTDRAFT_{option.upper()}"] = str(value)
    settings.cache_clear()
    return settings()


def _setting(option: str) -> Any:
    """An option that is the setting of the same name, with its description as help."""
    return typer.Option(
        f"--{option.replace('_', '-')}",
        help=Settings.model_fields[option].description,
        show_default=False,
        show_envvar=False,
    )


@app.callback()
def options(
    data_dir: Annotated[Path | None, _setting("data_dir")] = None,
    database_url: Annotated[str | None, _setting("database_url")] = None,
    redis_url: Annotated[str | None, _setting("redis_url")] = None,
    log_level: Annotated[str | None, _setting("log_level")] = None,
    log_format: Annotated[str | None, _setting("log_format")] = None,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error.", show_envvar=False)
    ] = False,
) -> None:
    """Settings that every command has."""
    if debug:
        os.environ["NIGHTDRAFT_DEBUG"] = "1"
    _choose(
        data_dir=data_dir,
        database_url=database_url,
        redis_url=redis_url,
        log_level=log_level,
        log_format=log_format,
    )


def _logs(part: str) -> Settings:
    """Start logging as `part`; the settings."""
    from records.telemetry import set_up_logs

    chosen = settings()
    set_up_logs(chosen.log_format, chosen.log_level, part)
    return chosen


def _console() -> Console:
    from rich.console import Console

    return Console(highlight=False, soft_wrap=not sys.stdout.isatty())


# ---- The parts ----


@app.command()
def station(
    bundle: Annotated[str | None, _setting("bundle")] = None,
    device: Annotated[str | None, _setting("device")] = None,
    listen_host: Annotated[str | None, _setting("listen_host")] = None,
    listen_port: Annotated[int | None, _setting("listen_port")] = None,
    serve_host: Annotated[str | None, _setting("serve_host")] = None,
    serve_port: Annotated[int | None, _setting("serve_port")] = None,
    quiet_seconds: Annotated[float | None, _setting("quiet_seconds")] = None,
    logs: Annotated[
        Path | None, typer.Option(help="Folder for a log file a part; else standard error.")
    ] = None,
) -> None:
    """Run all of it on this machine until Ctrl-C."""
    from nightdraft.station import run_station

    _choose(
        bundle=bundle,
        device=device,
        listen_host=listen_host,
        listen_port=listen_port,
        serve_host=serve_host,
        serve_port=serve_port,
        quiet_seconds=quiet_seconds,
    )
    run_station(_logs("station"), lambda line: print(line, flush=True), logs=logs)


@app.command()
def demo(
    films: Annotated[
        Path | None, typer.Option(help="Your DICOM files, instead of phantoms.")
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="End once all is drafted.")] = False,
) -> None:
    """Show the whole system at work on two dozen drawn phantoms."""
    from nightdraft.demo import run_demo

    if not run_demo(_console(), films, once=once):
        raise typer.Exit(1)


@app.command()
def listen(
    listen_host: Annotated[str | None, _setting("listen_host")] = None,
    listen_port: Annotated[int | None, _setting("listen_port")] = None,
    ae_title: Annotated[str | None, _setting("ae_title")] = None,
) -> None:
    """Run the DICOM listener."""
    from intake.listener import run_listener

    _choose(listen_host=listen_host, listen_port=listen_port, ae_title=ae_title)
    run_listener(_logs("listener"))


@work.command("prepare")
def work_prepare(
    prepare_processes: Annotated[int | None, _setting("prepare_processes")] = None,
    bundle: Annotated[str | None, _setting("bundle")] = None,
) -> None:
    """Make model inputs of studies (CPU)."""
    _choose(prepare_processes=prepare_processes, bundle=bundle)
    _work("prepare", needs_bundle=True)


@work.command("draft")
def work_draft(
    bundle: Annotated[str | None, _setting("bundle")] = None,
    device: Annotated[str | None, _setting("device")] = None,
    draft_batch: Annotated[int | None, _setting("draft_batch")] = None,
) -> None:
    """Draft reports (GPU, or CPU)."""
    _choose(bundle=bundle, device=device, draft_batch=draft_batch)
    _work("draft", needs_bundle=True)


@work.command("sweep")
def work_sweep(
    sweep_seconds: Annotated[float | None, _setting("sweep_seconds")] = None,
    quiet_seconds: Annotated[float | None, _setting("quiet_seconds")] = None,
) -> None:
    """Close quiet studies, ring bells, take back leases that ran out."""
    _choose(sweep_seconds=sweep_seconds, quiet_seconds=quiet_seconds)
    _work("sweep")


def _work(part: str, *, needs_bundle: bool = False) -> None:
    from nightdraft.checks import NO_BUNDLE, check_broker

    chosen = _logs(part)
    if needs_bundle and not chosen.bundle:
        raise SettingsError(NO_BUNDLE)
    check_broker(chosen)
    from worker.app import run_worker

    run_worker(part)


@app.command()
def serve(
    serve_host: Annotated[str | None, _setting("serve_host")] = None,
    serve_port: Annotated[int | None, _setting("serve_port")] = None,
) -> None:
    """Serve the pages and REST."""
    from api.app import run_server

    _choose(serve_host=serve_host, serve_port=serve_port)
    run_server(_logs("api"))


@app.command()
def migrate() -> None:
    """Bring the database's tables up to date."""
    import migrations
    from nightdraft.checks import check_database, check_migrations
    from records.session import engine

    check_database(settings())
    migrations.upgrade(engine())
    print(check_migrations())


# ---- Questions and decisions ----


@app.command()
def status(
    json_: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Studies by state, pace, time left, parts, alarms, refusals."""
    from nightdraft.watching import look, show_overview
    from records.session import unit_of_work

    with unit_of_work() as session:
        seen = look(session)
    if json_:
        print(json.dumps(seen.as_json()))
    else:
        _console().print(show_overview(seen))


@app.command()
def study(uid: Annotated[str, typer.Argument(help="Study Instance UID, or our own id.")]) -> None:
    """One study: who, its state, its timeline, and its draft under the warning."""
    from nightdraft.telling import tell_study
    from records.session import unit_of_work

    with unit_of_work() as session:
        shown = tell_study(session, uid)
    _console().print(shown)


@app.command()
def release(uid: Annotated[str, typer.Argument(help="Study Instance UID.")]) -> None:
    """End a study's quiet period now."""
    from records import studies
    from records.session import unit_of_work

    with unit_of_work() as session:
        studies.release(session, uid)
    print("released: the next sweep completes it")


@app.command()
def decide(
    uid: Annotated[str, typer.Argument(help="Study Instance UID.")],
    decision: Annotated[str, typer.Argument(help="proceed or cancel.")],
    by: Annotated[str, typer.Option(help="Who decides.")] = "",
    note: Annotated[str, typer.Option(help="Why.")] = "",
) -> None:
    """Answer the open holds of a study."""
    from records import holds, studies
    from records.session import unit_of_work
    from records.vocabulary import Decision

    if decision.upper() not in Decision.__members__:
        raise NotAllowed(f"{decision!r} is no decision: say proceed or cancel")
    if not by.strip():
        raise NotAllowed("a decision needs a name: --by NAME")
    with unit_of_work() as session:
        row = studies.by_uid(session, uid)
        count = holds.decide(session, row.id, Decision[decision.upper()], by.strip(), note)
    print(f"{decision.lower()}: {count} hold{'s' if count != 1 else ''} closed")


@app.command()
def retry(
    uid: Annotated[str | None, typer.Argument(help="One study; else all that failed.")] = None,
    reason: Annotated[
        str | None, typer.Option(help="Those that ended for this reason, SKIPPED ones too.")
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="Those that ended since then, as 2026-11-24 or with T18:00.")
    ] = None,
) -> None:
    """Try again what FAILED."""
    from records import requests, studies
    from records.session import unit_of_work

    at = None
    if since is not None:
        try:
            at = dt.datetime.fromisoformat(since).astimezone()
        except ValueError:
            raise NotAllowed(f"{since!r} is no date or time, as 2026-11-24T18:00") from None
    with unit_of_work() as session:
        study_id = studies.by_uid(session, uid).id if uid else None
        count = requests.retry(session, reason=reason, since=at, study_id=study_id)
    print(f"{count} stud{'ies' if count != 1 else 'y'} will be tried again")


@app.command()
def resume(
    part: Annotated[str | None, typer.Argument(help="The alarm's part; else all.")] = None,
) -> None:
    """Close alarms once their cause is mended; a worker that stopped itself goes on."""
    from records import parts
    from records.session import unit_of_work

    with unit_of_work() as session:
        count = parts.close_alarms(session, part)
    print(f"{count} alarm{'s' if count != 1 else ''} closed")


@app.command()
def doctor(
    part: Annotated[
        str | None, typer.Option(help="Only this part, on this host: for health checks.")
    ] = None,
) -> None:
    """Check each part and say what to mend."""
    from nightdraft.doctor import examine, show_findings

    findings = examine(settings(), part)
    _console().print(show_findings(findings))
    if any(finding.wrong for finding in findings):
        raise typer.Exit(1)


@app.command()
def send(
    folder: Annotated[Path, typer.Argument(help="Folder of DICOM files, looked through whole.")],
    host: Annotated[str | None, typer.Option(help="Else this machine's own listener.")] = None,
    port: Annotated[int | None, typer.Option(help="Else this machine's own listener.")] = None,
    called: Annotated[str | None, typer.Option(help="AE title to call.")] = None,
    calling: Annotated[str, typer.Option(help="AE title to send as.")] = "NIGHTDRAFT_SCU",
    associations: Annotated[int, typer.Option(min=1, max=32, help="At the same time.")] = 1,
) -> None:
    """Send DICOM files to a listener by C-STORE."""
    from nightdraft.station import listener_address
    from nightdraft.telling import send_with_progress

    own_host, own_port = listener_address(settings())
    sending = send_with_progress(
        _console(),
        folder,
        host=host or own_host,
        port=port or own_port,
        called=called or settings().ae_title,
        calling=calling,
        associations=associations,
    )
    for line in sending.lines():
        print(line)
    if not sending.whole:
        raise typer.Exit(1)


# ---- Models and measurements ----


@train.command("phantoms")
def train_phantoms(
    out: Annotated[Path, typer.Option(help="The bundle's folder.")],
    minutes: Annotated[float, typer.Option(min=0.0, help="Of training.")] = 30.0,
    seed: Annotated[int, typer.Option(min=0, help="Of weights and order.")] = 0,
) -> None:
    """Train the demonstration model from nothing, on drawn phantoms."""
    from training.recipes.phantoms import train_phantoms as recipe

    made = recipe(out, minutes=minutes, seed=seed)
    print(f"{made.name} {made.version}, digest {made.digest[:12]}, at {out}")


@bundle.command("show")
def bundle_show(
    bundle: Annotated[str, typer.Argument(help="A folder, or demo, or null.")],
) -> None:
    """What a bundle says of itself, as JSON."""
    from dataclasses import asdict

    from model.manifest import read_manifest

    manifest = read_manifest(bundle)
    print(json.dumps(asdict(manifest) | {"digest": manifest.digest}, indent=2, sort_keys=True))


@bundle.command("verify")
def bundle_verify(
    bundle: Annotated[str, typer.Argument(help="A folder, or demo.")],
) -> None:
    """Whether every file of a bundle is the one that its manifest lists."""
    from model.manifest import verify

    manifest = verify(bundle)
    print(
        f"{manifest.name} {manifest.version}: {len(manifest.files)} files unchanged, "
        f"digest {manifest.digest}"
    )


@bench.command("pipeline")
def bench_pipeline(
    studies: Annotated[int, typer.Option(min=1, help="Small phantom studies.")] = 2000,
    associations: Annotated[int, typer.Option(min=1, help="At the same time.")] = 4,
    json_: Annotated[Path | None, typer.Option("--json", help="File for the measurements.")] = None,
) -> None:
    """Send many small studies through a station whose model looks at nothing: pace and memory."""
    from nightdraft.bench.pipeline import measure, show

    measured = measure(studies, associations, lambda line: print(line, flush=True))
    if json_ is not None:
        json_.write_text(json.dumps(measured, indent=1) + "\n")
    _console().print(show(measured))


def main() -> None:
    """The command's door: what is known goes to standard error in one line, exit status 1."""
    debug = "--debug" in sys.argv or os.environ.get("NIGHTDRAFT_DEBUG")
    try:
        app()
    except (NightdraftError, _model_error()) as error:
        if debug:
            raise
        _fail(str(error) or type(error).__name__)
    except Exception as error:
        if debug:
            raise
        _fail(f"unexpected: {terse(error)}; `nightdraft --debug ...` shows the traceback")


def _model_error() -> type[Exception]:
    from model.errors import ModelError

    return ModelError


def _fail(sentence: str) -> None:
    print(f"nightdraft: {' '.join(sentence.split())}", file=sys.stderr)
    sys.exit(1)

"""The commands that run the parts: station, demo, listen, query, retrieve, work, serve, migrate.

Each command imports what it runs only when it is called, so that every command starts fast.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from nightdraft.cli.json_output import AsJson, print_json
from nightdraft.cli.options import (
    app,
    apply_options,
    console,
    sentence_log,
    setting_option,
    start_logging,
)
from nightdraft.station.checks import NO_BUNDLE, check_database, check_migrations
from records.errors import SettingsError
from records.settings import Settings, settings

work = typer.Typer(help="Run one worker: sweep, prepare or draft.", no_args_is_help=True)


@app.command()
def station(
    bundle: Annotated[str | None, setting_option("bundle")] = None,
    device: Annotated[str | None, setting_option("device")] = None,
    listen_host: Annotated[str | None, setting_option("listen_host")] = None,
    listen_port: Annotated[int | None, setting_option("listen_port")] = None,
    serve_host: Annotated[str | None, setting_option("serve_host")] = None,
    serve_port: Annotated[int | None, setting_option("serve_port")] = None,
    quiet_seconds: Annotated[float | None, setting_option("quiet_seconds")] = None,
    logs: Annotated[
        Path | None, typer.Option(help="Folder for one log file of each part; else standard error.")
    ] = None,
) -> None:
    """Run all parts on this machine until Ctrl-C."""
    from nightdraft.station.privileges import leave_root
    from nightdraft.station.station import run_station

    apply_options(
        bundle=bundle,
        device=device,
        listen_host=listen_host,
        listen_port=listen_port,
        serve_host=serve_host,
        serve_port=serve_port,
        quiet_seconds=quiet_seconds,
    )
    started = start_logging("station")
    log = sentence_log(started)
    run_station(leave_root(started, log, logs), log, log_dir=logs)


@app.command()
def demo(
    films: Annotated[
        Path | None, typer.Option(help="Your DICOM, PNG and JPEG films, instead of phantoms.")
    ] = None,
    once: Annotated[
        bool,
        typer.Option(
            "--once", help="End when every study has ended; exit status 1 where one ended wrongly."
        ),
    ] = False,
) -> None:
    """Show the whole system at work on two dozen drawn phantoms."""
    from nightdraft.cli.demo import run_demo

    if not run_demo(console(), films, once=once):
        raise typer.Exit(1)


@app.command()
def listen(
    listen_host: Annotated[str | None, setting_option("listen_host")] = None,
    listen_port: Annotated[int | None, setting_option("listen_port")] = None,
    ae_title: Annotated[str | None, setting_option("ae_title")] = None,
    hl7: Annotated[
        bool, typer.Option("--hl7", help="Listen for HL7 v2 messages by MLLP instead.")
    ] = False,
    hl7_host: Annotated[str | None, setting_option("hl7_host")] = None,
    hl7_port: Annotated[int | None, setting_option("hl7_port")] = None,
) -> None:
    """Run the DICOM listener, or the one for HL7 messages."""
    apply_options(
        listen_host=listen_host,
        listen_port=listen_port,
        ae_title=ae_title,
        hl7_host=hl7_host,
        hl7_port=hl7_port,
    )
    if hl7:
        if not settings().hl7_port:
            raise SettingsError("NIGHTDRAFT_HL7_PORT is 0: choose a port, 2575 is usual")
        current = _start_part("hl7")
        from intake.hl7.listener import run_hl7_listener

        run_hl7_listener(current)
        return
    current = _start_part("listener")
    from intake.dicom.listener import run_listener

    run_listener(current)


@app.command()
def query() -> None:
    """Ask a worklist for missing orders, and a FHIR server for earlier reports."""
    current = _start_part("query")
    from intake.queries.running import run_queries

    run_queries(current)


@app.command()
def retrieve() -> None:
    """Fetch the studies of campaigns, from folders and from PACSs."""
    current = _start_part("retrieve")
    from intake.archive.running import run_retrieve

    run_retrieve(current)


@work.command("prepare")
def work_prepare(
    prepare_processes: Annotated[int | None, setting_option("prepare_processes")] = None,
    bundle: Annotated[str | None, setting_option("bundle")] = None,
) -> None:
    """Prepare the model inputs of studies (CPU)."""
    apply_options(prepare_processes=prepare_processes, bundle=bundle)
    _start_part("prepare")
    _run_worker("prepare")


@work.command("draft")
def work_draft(
    bundle: Annotated[str | None, setting_option("bundle")] = None,
    device: Annotated[str | None, setting_option("device")] = None,
    draft_slots: Annotated[int | None, setting_option("draft_slots")] = None,
    draft_dtype: Annotated[str | None, setting_option("draft_dtype")] = None,
    draft_int8: Annotated[bool | None, setting_option("draft_int8")] = None,
    draft_beams: Annotated[int | None, setting_option("draft_beams")] = None,
    draft_compile: Annotated[bool | None, setting_option("draft_compile")] = None,
) -> None:
    """Draft reports on a GPU or the CPU; with several GPUs, one process on each."""
    from nightdraft.station.supervisor import draft_processes, run_draft_processes

    apply_options(
        bundle=bundle,
        device=device,
        draft_slots=draft_slots,
        draft_dtype=draft_dtype,
        draft_int8=draft_int8,
        draft_beams=draft_beams,
        draft_compile=draft_compile,
    )
    current = _start_part("draft")
    processes = draft_processes(current)
    if len(processes) > 1:
        run_draft_processes(current, processes, sentence_log(current))
    else:
        os.environ.update(processes[0].env)
        _run_worker("draft")


@work.command("sweep")
def work_sweep(
    sweep_seconds: Annotated[float | None, setting_option("sweep_seconds")] = None,
    quiet_seconds: Annotated[float | None, setting_option("quiet_seconds")] = None,
) -> None:
    """Complete quiet studies, ring bells, take back leases that ran out."""
    apply_options(sweep_seconds=sweep_seconds, quiet_seconds=quiet_seconds)
    _start_part("sweep")
    _run_worker("sweep")


def _run_worker(part: Literal["prepare", "draft", "sweep"]) -> None:
    from worker.running import run_worker

    raise typer.Exit(run_worker(part))


@app.command()
def serve(
    serve_host: Annotated[str | None, setting_option("serve_host")] = None,
    serve_port: Annotated[int | None, setting_option("serve_port")] = None,
) -> None:
    """Serve the pages and REST to browsers and systems."""
    apply_options(serve_host=serve_host, serve_port=serve_port)
    current = _start_part("api")
    from api.app import run_server

    run_server(current)


def _start_part(part: str) -> Settings:
    """Start logging, check what the part needs, give root up, and return the settings.

    Raises:
        NightdraftError: No bundle is named, or the database does not answer or has not the tables
            of this version; nothing in the data folder is changed then.
    """
    current = start_logging(part)
    if part in ("prepare", "draft") and not current.bundle:
        raise SettingsError(NO_BUNDLE)
    _check_records()
    if os.geteuid() == 0:
        current = _leave_root(current)
        _check_records()  # the database may know another user differently
    return current


def _leave_root(current: Settings) -> Settings:
    from nightdraft.station.privileges import leave_root
    from records.database.session import engine, forget_engine
    from records.telemetry import log_sentence

    engine().dispose()
    forget_engine()
    return leave_root(current, log_sentence)


def _check_records() -> None:
    """Refuse to start without a database that answers and has the tables of this version."""
    check_database(settings())
    check_migrations()


@app.command()
def migrate(json: AsJson = False) -> None:
    """Bring the database's tables up to date."""
    import migrations
    from records.database.roles import login_of_parts
    from records.database.session import make_engine

    current = settings()
    check_database(current, "migration_database_url")
    owner = make_engine(current.address("migration_database_url"))
    try:
        migrations.upgrade(
            owner,
            on_wait=lambda line: print(line, file=sys.stderr, flush=True),
            login=login_of_parts(current),
        )
    finally:
        owner.dispose()
    check_database(current)  # the role of the parts, which may have been made just now
    sentence = check_migrations()
    if json:
        print_json({"revision": migrations.head()})
    else:
        print(sentence)

"""examples/client.py against a running server: worklist, text, signature, lost answers."""

import importlib.util
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from records.accounts import programs
from records.database.session import unit_of_work
from records.states import WARNING, Permission
from tests.support.accounts import PASSWORD, make_account, run_sql
from tests.support.paths import ROOT
from tests.support.seeded_studies import StudySeeder

CLIENT = ROOT / "examples" / "client.py"


@pytest.fixture(scope="module")
def example():
    described = importlib.util.spec_from_file_location("nightdraft_client", CLIENT)
    module = importlib.util.module_from_spec(described)
    sys.modules[described.name] = module
    described.loader.exec_module(module)
    return module


@pytest.fixture
def study(database, data_dir):
    seeder = StudySeeder(data_dir)
    for number in (1, 2, 3):
        seeder.draft_study(number)
    return run_sql("SELECT study_instance_uid FROM studies ORDER BY id")[0][0]


@pytest.fixture
def reader(study):
    return make_account("roe", sites=["default"], name="Roe").login


def log_in(example, server, reader, **options):
    client = example.Client(server.url, **options)
    client.log_in(reader, PASSWORD)
    return closing(client)


def run(server, reader, *arguments, password=PASSWORD):
    return subprocess.run(
        [sys.executable, "-W", "error", CLIENT, *arguments, "--url", server.url],
        env={**os.environ, "NIGHTDRAFT_LOGIN": reader, "NIGHTDRAFT_PASSWORD": password},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_a_study_is_listed_read_saved_and_signed(serve, study, reader):
    server = serve()
    listed = run(server, reader, "list")
    assert listed.returncode == 0, listed.stderr
    assert len(listed.stdout.splitlines()) == 3
    assert f"{study} ROUTINE" in listed.stdout
    read = run(server, reader, "read", study)
    assert read.stdout.startswith(WARNING)
    text = ("--findings", "The lungs are clear.", "--impression", "Normal.")
    saved = run(server, reader, "save", study, *text)
    assert "Findings: The lungs are clear." in saved.stdout, saved.stderr
    digest = saved.stdout.rsplit(maxsplit=1)[-1]
    assert digest != read.stdout.rsplit(maxsplit=1)[-1]
    wrong = run(server, reader, "sign", study, read.stdout.rsplit(maxsplit=1)[-1])
    assert (wrong.returncode, count_reviews()) == (1, 0)
    signed = run(server, reader, "sign", study, digest)
    assert signed.stdout.startswith("Signed by Roe (roe) at "), signed.stderr
    assert f"{study} ROUTINE" in run(server, reader, "list").stdout
    assert "signed by Roe (roe)" in run(server, reader, "list").stdout
    refused = run(server, reader, "list", password="wrong")
    assert (refused.returncode, refused.stderr) == (1, "The login was refused.\n")


def test_a_program_with_a_token_reads(serve, study, reader, example):
    with unit_of_work() as session:
        token = programs.create(session, "registry", [Permission.READ_STUDIES], "a test")
    with closing(example.Client(serve().url, token)) as client:
        assert len(list(client.list_studies(state="DRAFTED"))) == 3
        with pytest.raises(example.Problem, match="You may not do this") as refused:
            client.read_text(study)
    assert refused.value.status == 403


def count_reviews():
    return run_sql("SELECT count(*) FROM reviews")[0][0]


def test_pages_follow_each_other(serve, study, reader, example):
    with log_in(example, serve(), reader) as client:
        found = list(client.list_studies(limit="1"))
        assert len({one.study_instance_uid for one in found}) == 3


def test_who_saved_meanwhile_is_told(serve, study, reader, example):
    with log_in(example, serve(), reader) as client:
        begun = client.read_text(study)
        client.save_text(study, begun, "By the first.", "")
        with pytest.raises(example.Problem) as refused:
            client.save_text(study, begun, "By the second.", "")
    assert (refused.value.status, refused.value.current.findings) == (412, "By the first.")


@pytest.mark.parametrize("point", ["before-kept-answer-commit", "after-kept-answer-commit"])
def test_a_signature_whose_answer_is_lost_is_signed_once(
    serve, study, reader, example, free_port, tmp_path, monkeypatch, point
):
    mark = tmp_path / "killed"
    with monkeypatch.context() as killing:
        killing.setenv("NIGHTDRAFT_KILL_AT", point)
        killing.setenv("NIGHTDRAFT_KILL_MARK", str(mark))
        server = serve(serve_port=free_port)
    with (
        log_in(example, server, reader, attempts=60) as client,
        ThreadPoolExecutor(1) as signer,
    ):
        signing = signer.submit(client.sign, study, client.read_text(study))
        assert server.process.wait(timeout=60) == -signal.SIGKILL
        serve(serve_port=free_port)
        review = signing.result(timeout=120)
    assert (review.decision, count_reviews()) == ("SIGNED", 1)
    assert mark.exists()

"""The server as a process: ports, signals, what it says, and what it never says."""

import socket

import httpx2 as httpx
import pytest

from records.database.session import unit_of_work
from records.operations import heartbeats
from tests.support.accounts import PASSWORD, make_account
from tests.support.seeded_studies import StudySeeder
from tests.support.waiting import eventually


def test_it_takes_a_free_port_and_ends_cleanly(serve):
    server = serve()
    assert httpx.get(f"{server.url}/healthz").json() == {"status": "alive"}
    assert "no login" in server.log.read_text()

    def beats():
        with unit_of_work() as session:
            return [part.facts for part in heartbeats.running_parts(session) if part.part == "api"]

    (facts,) = eventually(beats)
    assert server.url.endswith(f":{facts['port']}")
    assert server.end() == 0
    assert beats() == []
    assert "Traceback" not in server.log.read_text()


def test_a_port_in_use_is_one_clear_line(serve):
    with socket.create_server(("127.0.0.1", 0)) as listening_socket:
        port = listening_socket.getsockname()[1]
        server = serve(wait=False, serve_port=port)
        assert server.process.wait(timeout=30) == 1
    (line,) = server.log.read_text().splitlines()
    assert line.startswith(f"PortInUse: port {port} of 127.0.0.1 is in use")


def test_an_address_of_another_machine_is_one_clear_line(serve):
    server = serve(wait=False, serve_host="192.0.2.1")
    assert server.process.wait(timeout=30) == 1
    (line,) = server.log.read_text().splitlines()
    assert line.startswith("SettingsError: cannot serve on 192.0.2.1")


def test_beyond_loopback_it_starts_with_the_first_account_alone(serve):
    refused = serve(wait=False, serve_host="0.0.0.0")
    assert refused.process.wait(timeout=60) == 1
    (line,) = refused.log.read_text().splitlines()
    assert line.startswith("SettingsError: other machines reach the pages")
    assert "there is no account" in line
    assert "nightdraft account create" in line
    make_account()
    server = serve(serve_host="0.0.0.0")
    assert httpx.get(f"{server.url}/api/studies").status_code == 401
    assert httpx.get(f"{server.url}/metrics").status_code == 200  # from this machine
    assert server.end() == 0


def test_beyond_loopback_it_does_not_start_without_the_database(serve):
    server = serve(
        wait=False, serve_host="0.0.0.0", database_url="postgresql://nobody@127.0.0.1:1/none"
    )
    assert server.process.wait(timeout=60) == 1
    assert server.log.read_text().startswith("DatabaseDown: ")


@pytest.mark.parametrize(
    "reached",
    [{"serve_host": "0.0.0.0"}, {"trusted_proxies": "127.0.0.1"}],
)
def test_with_a_reader_of_the_demonstration_it_starts_on_loopback_alone(serve, reached):
    make_account()
    server = serve(wait=False, demo_reader="demo", **reached)
    assert server.process.wait(timeout=60) == 1
    assert "NIGHTDRAFT_DEMO_READER is for a demonstration on this machine" in server.log.read_text()


def test_a_running_server_asks_for_logins_from_the_first_account_on(serve):
    server = serve()
    assert httpx.get(f"{server.url}/").status_code == 200
    make_account()
    answer = httpx.get(f"{server.url}/?words=PLANTEDNAME", follow_redirects=False)
    assert answer.headers["location"] == "/login?next=%2F%3Fwords%3DPLANTEDNAME"
    login = {"login": "ada", "password": PASSWORD}
    with httpx.Client(base_url=server.url) as client:
        assert client.post("/login", data=login).status_code == 303
        assert client.get("/").status_code == 200
    assert server.end() == 0
    log = server.log.read_text()
    assert PASSWORD not in log
    assert "PLANTEDNAME" not in log


def test_no_patient_and_no_search_word_gets_into_the_log(serve, data_dir):
    study = StudySeeder(data_dir).draft_study(1)
    server = serve(log_level="debug")
    for path in ("/?words=PLANTEDNAME", f"/studies/{study}", "/api/studies?words=PLANTEDNAME"):
        assert httpx.get(server.url + path).status_code == 200
    assert httpx.get(f"{server.url}/api/studies?state=PLANTEDNAME").status_code == 422
    assert server.end() == 0
    log = server.log.read_text()
    assert "PLANTEDNAME" not in log
    assert "PHANTOM" not in log


def test_it_outlives_the_database(serve, servers, data_dir):
    server = serve(database_url="postgresql://nobody@127.0.0.1:1/none")
    assert httpx.get(f"{server.url}/").status_code == 503
    assert httpx.get(f"{server.url}/healthz").status_code == 200
    assert server.end() == 0
    assert "Traceback" not in server.log.read_text()

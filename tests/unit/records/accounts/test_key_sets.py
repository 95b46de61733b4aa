"""Public keys of programs: which are taken, from a file and from an address."""

import json
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from joserfc.jwk import ECKey, OctKey, RSAKey

from records.accounts import key_sets
from records.accounts.key_sets import KeyFetcher, check_url, find, parse
from records.errors import NotAllowed, PartError
from records.settings import read_settings
from tests.support.certificates import Authority
from tests.support.key_publisher import KeyPublisher

RSA = RSAKey.generate_key(2048, {"kid": "r"})
EC = ECKey.generate_key("P-384", {"kid": "e"})


def public(key, **changed):
    values = key.as_dict(private=False) | changed
    return {name: value for name, value in values.items() if value is not None}


def as_set(*keys):
    return json.dumps({"keys": keys}).encode()


def test_keys_are_found_by_id_for_their_algorithm_alone():
    read = parse(as_set(public(RSA, use="sig", alg="RS384"), public(EC, key_ops=["verify"])))
    assert isinstance(find(read, "r", "RS384"), RSAKey)
    assert isinstance(find(read, "e", "ES384"), ECKey)
    assert find(read, "r", "ES384") is None
    assert find(read, "e", "RS384") is None
    assert find(read, "x", "RS384") is None
    # Nothing else of a key is kept.
    assert read["keys"][0].keys() == {"kty", "kid", "n", "e"}


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "no JSON"),
        (b"[" * 60_000, "no JSON"),
        (b"[]", "list"),
        (b'{"keys": {}}', "list"),
        (b'{"keys": []}', "list"),
        (b'{"keys": [7]}', "no JSON object"),
        (b" " * 70_000, "larger than"),
        (as_set(*[public(RSA, kid=str(number)) for number in range(21)]), "more than 20"),
        (as_set(RSA.as_dict(private=True)), "private or secret"),
        (as_set(EC.as_dict(private=True)), "private or secret"),
        (as_set({"kty": "oct", "k": "A" * 43, "kid": "o"}), "private or secret"),
        (as_set(public(RSA, kid=None)), "no `kid`"),
        (as_set(public(RSA, kid="")), "no `kid`"),
        (as_set(public(RSA, kid=5)), "no `kid`"),
        (as_set(public(RSA, use="enc")), "suits neither"),
        (as_set(public(RSA, key_ops=["encrypt"])), "suits neither"),
        (as_set(public(RSA, key_ops=5)), "suits neither"),
        (as_set(public(RSA, alg="RS256")), "suits neither"),
        (as_set(public(RSA, alg=[])), "suits neither"),
        (as_set(public(RSA, n="AQAB")), "suits neither"),
        (as_set(public(RSA, n="!")), "suits neither"),
        (as_set(public(EC, x="AAAA")), "suits neither"),
        (as_set(public(EC, kty="RSA")), "suits neither"),
        (as_set({"kty": "OKP", "crv": "Ed25519", "x": "AAAA", "kid": "o"}), "suits neither"),
        (as_set(public(ECKey.generate_key("P-256"), kid="p")), "suits neither"),
        (as_set(public(RSA, n=RSA.as_dict()["n"][:171])), "suits neither"),
        (as_set(public(RSA), public(EC, kid="r")), "the same `kid`"),
    ],
)
def test_what_is_no_set_of_public_keys_is_refused(content, why):
    with pytest.raises(NotAllowed, match=why):
        parse(content)


@pytest.mark.parametrize(
    "url",
    [
        "https://ris.example/jwks.json",
        " https://ris.example:8443/jwks?set=1 ",
        "http://127.0.0.1:9/jwks",
        "http://[::1]:9/jwks",
        "http://localhost/jwks",
    ],
)
def test_an_address_is_taken_where_nobody_between_can_change_the_keys(url):
    assert check_url(url) == url.strip()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ris.example",
        "http://ris.example/jwks",
        "http://127.0.0.1.ris.example/",
        "ftp://ris.example/jwks",
        "file:///etc/passwd",
        "https://user:word@ris.example/",
        "https://ris.example/#x",
        "https://ris example/",
        "https://ris.example/\r\nX: y",
        "https://ris.example:port/",
        "https://[::1/",
    ],
)
def test_another_address_is_refused(url):
    with pytest.raises(NotAllowed, match="address"):
        check_url(url)


@pytest.fixture
def publisher():
    with KeyPublisher(as_set(public(RSA))) as running:
        yield running


@pytest.fixture
def clock(monkeypatch):
    """Moves the clock of the fetcher."""
    now = [1000.0]
    monkeypatch.setattr(key_sets.time, "monotonic", lambda: now[0])

    def move(seconds):
        now[0] += seconds

    return move


def look(fetcher, publisher, key_id="r", algorithm="RS384", **config):
    return fetcher.find(publisher.url, key_id, algorithm, read_settings(**config))


def test_keys_of_an_address_are_kept_and_asked_for_again(publisher, clock):
    fetcher = KeyFetcher()
    for _ in range(3):
        assert isinstance(look(fetcher, publisher), RSAKey)
    assert publisher.asked == 1
    clock(key_sets.KEPT_SECONDS + 1)
    assert look(fetcher, publisher)
    assert publisher.asked == 2


def test_an_unknown_key_is_asked_for_but_not_by_each_call(publisher, clock):
    fetcher = KeyFetcher()
    assert look(fetcher, publisher)
    publisher.body = as_set(public(RSA), public(EC))
    assert look(fetcher, publisher, "e", "ES384") is None
    assert publisher.asked == 1
    clock(key_sets.LEAST_SECONDS + 1)
    assert isinstance(look(fetcher, publisher, "e", "ES384"), ECKey)
    for _ in range(3):
        assert look(fetcher, publisher, "x") is None
    assert publisher.asked == 2


@pytest.mark.parametrize(
    ("control", "kept"),
    [("max-age=20", 20), ("public, max-age=99999", 300), ("no-store", 0), ("max-age=x", 300)],
)
def test_an_address_says_for_how_long_its_keys_are_kept(publisher, clock, control, kept):
    publisher.headers = {"Cache-Control": control}
    fetcher = KeyFetcher()
    look(fetcher, publisher)
    clock(max(kept, key_sets.LEAST_SECONDS) - 1)
    look(fetcher, publisher)
    assert publisher.asked == 1
    clock(2)
    look(fetcher, publisher)
    assert publisher.asked == 2


def test_keys_that_cannot_be_used_are_passed_over(publisher):
    secret = OctKey.generate_key(256, {"kid": "r"}).as_dict(private=True)
    publisher.body = as_set(secret, 7, public(RSA, kid="enc", use="enc"), public(EC))
    fetcher = KeyFetcher()
    assert isinstance(look(fetcher, publisher, "e", "ES384"), ECKey)
    assert look(fetcher, publisher, "r") is None
    assert look(fetcher, publisher, "enc") is None


@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [
        (500, {}, b""),
        (404, {}, as_set(public(RSA))),
        (302, {"Location": "https://evil.example/"}, b""),
        (200, {}, b"<html>"),
        (200, {}, b'{"keys": []}'),
        (200, {}, b" " * (key_sets.MAX_BYTES + 1)),
    ],
)
def test_an_address_that_does_not_answer_is_said_so_and_left_alone(
    publisher, clock, status, headers, body
):
    publisher.status, publisher.headers, publisher.body = status, headers, body
    fetcher = KeyFetcher()
    with pytest.raises(PartError, match="address"):
        look(fetcher, publisher)
    with pytest.raises(PartError, match="a moment ago"):
        look(fetcher, publisher)
    assert publisher.asked == 1
    publisher.status, publisher.headers, publisher.body = 200, {}, as_set(public(RSA))
    clock(key_sets.LEAST_SECONDS + 1)
    assert look(fetcher, publisher)


def test_keys_that_are_kept_outlast_a_fault(publisher, clock):
    fetcher = KeyFetcher()
    look(fetcher, publisher)
    publisher.status = 500
    clock(key_sets.LEAST_SECONDS + 1)
    with pytest.raises(PartError):
        look(fetcher, publisher, "x")
    assert look(fetcher, publisher)


def test_an_address_that_sends_slowly_is_given_up(monkeypatch):
    """A byte now and then would pass every time-out of the socket."""
    monkeypatch.setattr(key_sets, "FETCH_SECONDS", 0.2)
    ended = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            while not ended.wait(0.05):
                self.wfile.write(b" ")

        def log_message(self, *_):
            pass

    slow = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    slow.handle_error = lambda *_: None
    thread = threading.Thread(target=slow.serve_forever, args=(0.02,))
    thread.start()
    try:
        url = f"http://127.0.0.1:{slow.server_address[1]}/"
        with pytest.raises(PartError, match="too long"):
            KeyFetcher().find(url, "r", "RS384", read_settings())
    finally:
        ended.set()
        slow.shutdown()
        slow.server_close()
        thread.join()


def test_the_certificate_of_an_address_is_checked(tmp_path):
    authority = Authority(tmp_path)
    issued = authority.issue("ris")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(issued.certificate, issued.key)
    with KeyPublisher(as_set(public(RSA)), context) as publisher:
        with pytest.raises(PartError, match="does not answer as it should"):
            look(KeyFetcher(), publisher)
        assert publisher.asked == 0
        found = look(KeyFetcher(), publisher, program_keys_ca_file=str(authority.file))
        assert isinstance(found, RSAKey)
        with pytest.raises(PartError, match="NIGHTDRAFT_PROGRAM_KEYS_CA_FILE"):
            look(KeyFetcher(), publisher, program_keys_ca_file=str(tmp_path / "none.pem"))

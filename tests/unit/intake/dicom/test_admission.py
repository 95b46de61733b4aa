"""Who gets a place: requests are read in any pieces, and strangers crowd nobody out."""

import random
import socket
import threading
from types import SimpleNamespace

import pytest

from intake.dicom import admission, association_request
from intake.dicom.admission import Admission
from intake.dicom.association_request import MalformedRequest, check_request
from intake.dicom.known_callers import KnownCallers
from intake.dicom.limits import RefusalReason
from tests.support.dicom_senders import associate_request, wait_until_closed
from tests.support.waiting import eventually


class Door:
    """An admission whose associations are only noted, and whose peers are socket pairs."""

    def __init__(self, places=2, known_places=0, known=(), seconds=30.0):
        self.admitted = []
        self.refused = []
        self.busy = set()
        self.admission = Admission(
            places,
            known_places,
            KnownCallers(known),
            seconds,
            lambda waiting, place: self.admitted.append((waiting, place)),
            lambda association: association in self.busy,
            lambda *refusal: self.refused.append(refusal),
        )
        self.peers = []

    def connect(self, content=b"", address="10.0.0.1"):
        ours, theirs = socket.socketpair()
        theirs.settimeout(30)
        theirs.sendall(content)
        self.peers.append(theirs)
        self.admission.add(ours, (address, 1))
        return theirs

    def titles(self):
        return [place.calling_ae for _, place in self.admitted]


@pytest.fixture
def door():
    doors = []

    def make(**options):
        doors.append(Door(**options))
        doors[-1].admission.start()
        return doors[-1]

    yield make
    for made in doors:
        made.admission.stop()
        for peer in made.peers:
            peer.close()
        for waiting, _ in made.admitted:
            waiting.socket.close()


# ---- What can be read ----


def test_a_request_is_read_in_whatever_pieces_it_comes(door):
    here = door()
    request = associate_request("CR7")
    peer = here.connect(request[:1])
    for start in range(1, len(request), 40):
        peer.sendall(request[start : start + 40])
    eventually(lambda: here.titles() == ["CR7"])
    assert bytes(here.admitted[0][0].received) == request


def test_a_request_that_is_damaged_anywhere_never_breaks_the_check():
    request = associate_request(
        classes=[f"1.2.840.10008.5.1.4.1.1.{number}" for number in (1, 2, 4)]
    )
    assert check_request(request) == "CR1"
    generator = random.Random(19)
    read = 0
    for _ in range(3000):
        damaged = bytearray(request)
        for _ in range(generator.randint(1, 4)):
            damaged[generator.randrange(74, len(damaged))] = generator.randrange(256)
        try:
            check_request(bytes(damaged))
            read += 1
        except MalformedRequest:
            pass
    assert 0 < read < 3000


@pytest.mark.parametrize("number", [0, 2, 254])
def test_a_context_with_a_number_that_the_standard_forbids_is_refused(number, door):
    request = bytearray(associate_request())
    position = request.index(b"\x20\x00", 74) + 4
    assert request[position] == 1
    request[position] = number
    with pytest.raises(MalformedRequest):
        check_request(bytes(request))
    here = door()
    peer = here.connect(bytes(request))
    assert peer.recv(10)[:1] == b"\7"
    eventually(lambda: here.refused == [("10.0.0.1", "", RefusalReason.BROKEN_MESSAGE)])


def test_a_associate_request_too_many_items_is_refused_before_it_is_decoded(monkeypatch):
    decoded = []
    monkeypatch.setattr(association_request.A_ASSOCIATE_RQ, "decode", lambda *_: decoded.append(1))
    request = associate_request() + bytes([0x50, 0, 0x9C, 0x40]) + bytes(4) * 10_000
    with pytest.raises(MalformedRequest):
        check_request(request)
    assert not decoded


def test_what_is_no_request_is_hung_up_on(door):
    here = door()
    for content, reason in (
        (b"GET / HTTP/1.1\r\n\r\n", RefusalReason.BROKEN_MESSAGE),
        (b"\1\0\xff\xff\xff\xff", RefusalReason.PDU_TOO_LARGE),
        (b"\1\0\0\0\0\4abcd", RefusalReason.PDU_TOO_LARGE),
    ):
        peer = here.connect(content)
        assert peer.recv(10)[:1] == b"\7"
        wait_until_closed(peer)
        eventually(lambda reason=reason: here.refused.pop() == ("10.0.0.1", "", reason))


# ---- One deadline, many connections ----


def test_a_request_that_does_not_come_to_an_end_in_time_is_closed(door):
    here = door(seconds=0.3)
    silent, slow = here.connect(), here.connect(associate_request()[:30])
    assert silent.recv(1) == b""
    assert slow.recv(1) == b""
    # A connection that says nothing, as a probe does, is no refusal.
    assert here.refused == [("10.0.0.1", "", RefusalReason.REQUEST_TOO_SLOW)]


def test_many_slow_requests_keep_nobody_out(door, monkeypatch):
    monkeypatch.setattr(admission, "MAX_WAITING", 8)
    here = door(places=4)
    slow = [here.connect(b"\1") for _ in range(8)]
    here.connect(associate_request("CR1"), "10.0.0.2")
    here.connect(associate_request("CR2"))  # from the address of the slow ones
    eventually(lambda: here.titles() == ["CR1", "CR2"])
    # Those that came first made room.
    assert slow[0].recv(1) == b""
    assert {reason for *_, reason in here.refused} == {RefusalReason.TOO_MANY}


# ---- Places ----


def test_who_finds_no_place_waits_for_one_and_is_then_rejected_for_a_while(door, monkeypatch):
    monkeypatch.setattr(admission, "PLACE_WAIT_SECONDS", 30.0)
    here = door(places=1)
    here.connect(associate_request("CR1"))
    eventually(lambda: here.titles() == ["CR1"])
    here.connect(associate_request("CR2"))
    here.admission.release(here.admitted[0][1])
    eventually(lambda: here.titles() == ["CR1", "CR2"])
    monkeypatch.setattr(admission, "PLACE_WAIT_SECONDS", 0.2)
    peer = here.connect(associate_request("CR3"))
    assert peer.recv(10) == bytes([3, 0, 0, 0, 0, 4, 0, 2, 3, 2])
    eventually(lambda: here.refused == [("10.0.0.1", "CR3", RefusalReason.TOO_MANY)])


def test_known_callers_have_places_of_their_own(door, monkeypatch):
    monkeypatch.setattr(admission, "PLACE_WAIT_SECONDS", 30.0)
    here = door(places=2, known_places=2, known=["CR9", "10.7.0.0/16"])
    here.admission.learn("10.0.0.5", "CR5")
    for number in range(6):
        here.connect(associate_request(f"X{number}"), f"10.1.0.{number}")
    eventually(lambda: len(here.admitted) == 2)
    here.connect(
        associate_request("CR5"), "10.0.0.6"
    )  # a stranger who took the title of a known caller
    here.connect(associate_request("CR9"), "10.0.0.9")
    here.connect(associate_request("ANY"), "10.7.1.1")
    eventually(lambda: set(here.titles()[2:]) == {"CR9", "ANY"})
    # A known caller that leaves gives no place to strangers, and the next known one gets it.
    here.admission.release(here.admitted[2][1])
    here.connect(associate_request("CR5"), "10.0.0.5")
    eventually(lambda: here.titles()[4:] == ["CR5"])


def test_one_address_does_not_get_all_places(door, monkeypatch):
    monkeypatch.setattr(admission, "PLACE_WAIT_SECONDS", 30.0)
    here = door(places=4)
    for number in range(6):
        here.connect(associate_request(f"X{number}"), "10.1.0.1")
    eventually(lambda: len(here.admitted) == 3)
    here.connect(associate_request("CR1"), "10.0.0.2")
    eventually(lambda: here.titles()[3:] == ["CR1"])


class FakeAssociation:
    is_established = True

    dimse = SimpleNamespace(message=None)

    def __init__(self, silent_seconds):
        self.aborted = threading.Event()
        timer = SimpleNamespace(timeout=60, remaining=60 - silent_seconds)
        self.dul = SimpleNamespace(_idle_timer=timer)

    def abort(self, block=True):
        self.aborted.set()


def test_a_stranger_who_is_idle_makes_room_where_somebody_waits(door, monkeypatch):
    monkeypatch.setattr(admission, "PLACE_WAIT_SECONDS", 30.0)
    here = door(places=3, known=["CR9"])
    for title in ("CR9", "BUSY", "IDLE"):
        here.connect(associate_request(title))
    eventually(lambda: len(here.admitted) == 3)
    for _, place in here.admitted:
        place.association = FakeAssociation(30)
    known, busy, idle = (place.association for _, place in here.admitted)
    here.busy.add(busy)
    here.connect(associate_request("CR1"))
    here.connect(associate_request("CR2"))
    eventually(idle.aborted.is_set)
    here.admission.release(here.admitted[2][1])
    eventually(lambda: here.titles()[3:] == ["CR1"])
    assert not known.aborted.is_set()
    assert not busy.aborted.is_set()

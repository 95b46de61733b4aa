"""Associations with a PACS."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

from pynetdicom import build_context
from pynetdicom.sop_class import Verification

from intake.archive.errors import PacsAway, SetUpWrong
from intake.dicom_client import Peer, accepts, silence_pynetdicom
from records.pacs import Pacs
from records.settings import Settings
from records.tls.calls import ClientTls

T = TypeVar("T")


class DimseClient:
    """Makes associations with one PACS.

    Args:
        pacs: which, and how it is reached.
        config: our own AE title.
    """

    def __init__(self, pacs: Pacs, config: Settings) -> None:
        """Read the certificates.

        Raises:
            SettingsError: a file of them, or our AE title, cannot be used.
        """
        self.pacs = pacs
        self.calling_ae = pacs.calling_ae or config.ae_title
        self.place = f"the PACS {pacs.name} ({pacs.ae_title} at {pacs.host} port {pacs.port})"
        self._peer = Peer(
            self.place,
            pacs.host,
            pacs.port,
            pacs.ae_title,
            self.calling_ae,
            pacs.seconds,
            (
                ClientTls(pacs.tls_files(), pacs.host, pacs.server_name, f"the PACS {pacs.name}")
                if pacs.tls
                else None
            ),
            PacsAway,
            f"the PACS {pacs.name}: calling_ae",
        )
        self._peer.make_entity()  # its titles are checked now
        silence_pynetdicom()

    def check(self) -> None:
        """C-ECHO (PS3.4 annex A).

        Raises:
            PacsAway: the PACS does not answer.
        """
        with self.associated([build_context(Verification)]) as association:
            status = association.send_c_echo()
            if "Status" not in status:
                raise PacsAway(f"{self.place} does not answer a C-ECHO")

    @contextmanager
    def associated(
        self,
        contexts: Sequence[Any],
        *,
        roles: Sequence[Any] = (),
        handlers: Sequence[Any] = (),
        seconds: float | None = None,
    ) -> Iterator[Any]:
        """An association; it is released, or aborted where something failed.

        Args:
            contexts: presentation contexts. The first one's abstract syntax must be accepted.
            roles: role selections (PS3.7 D.3.3.4).
            handlers: pynetdicom's event handlers.
            seconds: how long the PACS may be silent; None is as its settings say.

        Raises:
            PacsAway: there is no association, or the PACS does not offer what is asked of it.
        """
        with self._peer.associated(
            contexts, roles=roles, handlers=handlers, seconds=seconds
        ) as association:
            model = contexts[0].abstract_syntax
            if not accepts(association, model):
                raise SetUpWrong(
                    f"{self.place} does not offer {model.name}: allow it there for our AE title "
                    f"{self.calling_ae}, or set another `retrieve` in NIGHTDRAFT_PACS_FILE"
                )
            yield association


class KeptAssociation:
    """An association for several questions, one after the other; made when it is needed.

    Args:
        client: of the PACS.
        contexts: as `DimseClient.associated`.
    """

    def __init__(self, client: DimseClient, contexts: Sequence[Any]) -> None:
        self._client = client
        self._contexts = contexts
        self._opened = ExitStack()
        self._association: Any = None

    def ask(self, question: Callable[[Any], T]) -> T:
        """Ask a question; on a new association, once, where the PACS ended the one that was kept.

        Args:
            question: is given the association (pynetdicom's), and ends the operation on it.

        Raises:
            PacsAway: there is no association, or the PACS does not answer.
        """
        if self._association is not None and self._association.is_established:
            try:
                return self._ask(question)
            # pynetdicom's RuntimeError: it was ended just now.
            except (PacsAway, RuntimeError):
                return self._ask(question)
        return self._ask(question)

    def close(self) -> None:
        """Release the association, if there is one; the next question makes another."""
        self._association = None
        self._opened.close()

    def _ask(self, question: Callable[[Any], T]) -> T:
        try:
            if self._association is None or not self._association.is_established:
                self.close()
                associated = self._client.associated(self._contexts)
                self._association = self._opened.enter_context(associated)
            return question(self._association)
        except BaseException:
            self._association = None
            self._opened.__exit__(*sys.exc_info())
            raise


def hang_up(association: Any) -> None:
    """Abort an association in one of pynetdicom's event handlers.

    Whoever waits for the next response learns of it at once: pynetdicom says so only where the
    other side aborts.
    """
    association.abort()
    association.dimse.msg_queue.put((None, None))

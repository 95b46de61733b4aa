"""Associations with a PACS."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pynetdicom import build_context
from pynetdicom.sop_class import Verification

from intake.archive.errors import PacsAway, SetUpWrong
from intake.dicom_client import Peer, accepts, silence_pynetdicom
from records.pacs import Pacs
from records.settings import Settings
from records.tls import ClientTls


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

"""Associations with a PACS: how they are made, and why there is none."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pynetdicom import AE, _config, build_context
from pynetdicom.sop_class import Verification

from intake.archive.errors import PacsAway, SetUpWrong
from records.errors import SettingsError
from records.pacs import Pacs
from records.settings import Settings


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
        self._tls = _tls_context(pacs)
        self._entity(pacs.seconds)  # its titles are checked now
        # Its log lines of identifiers would also decode their texts before we do.
        _config.LOG_REQUEST_IDENTIFIERS = _config.LOG_RESPONSE_IDENTIFIERS = False

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
        pacs = self.pacs
        try:
            association = self._entity(seconds or pacs.seconds).associate(
                pacs.host,
                pacs.port,
                contexts=list(contexts),
                ae_title=pacs.ae_title,
                ext_neg=list(roles),
                tls_args=(self._tls, pacs.host) if self._tls else None,
                evt_handlers=list(handlers),
            )
        except OSError:
            raise PacsAway(f"{self.place} has a name that is not known here") from None
        if not association.is_established:
            raise PacsAway(f"{self.place} {why_not(association)}")
        is_whole = False
        try:
            model = contexts[0].abstract_syntax
            if model not in {one.abstract_syntax for one in association.accepted_contexts}:
                raise SetUpWrong(
                    f"{self.place} does not offer {model.name}: allow it there for our AE title "
                    f"{self.calling_ae}, or set another `retrieve` in NIGHTDRAFT_PACS_FILE"
                )
            yield association
            is_whole = True
        finally:
            end: Callable[[], None] = association.release if is_whole else association.abort
            if association.is_established:
                end()

    def _entity(self, seconds: float) -> AE:
        try:
            entity = AE(self.calling_ae)
        except (ValueError, TypeError):
            raise SettingsError(
                f"the PACS {self.pacs.name}: calling_ae is an AE title: up to 16 ASCII characters "
                "without backslash"
            ) from None
        entity.connection_timeout = entity.acse_timeout = self.pacs.seconds
        entity.dimse_timeout = entity.network_timeout = seconds
        return entity


def why_not(association: Any) -> str:
    """Why there is no association, in the standard's words (PS3.8 section 9.3.4)."""
    if association.is_rejected:
        primitive = association.acceptor.primitive
        reason = getattr(primitive, "reason_str", "") or "no reason given"
        return f"refuses our association ({reason.lower()})"
    return "does not accept an association: nobody answers there, or it hung up"


def _tls_context(pacs: Pacs) -> ssl.SSLContext | None:
    if not pacs.tls:
        return None
    try:
        context = ssl.create_default_context(cafile=pacs.ca_file or None)
        if pacs.certificate_file:
            context.load_cert_chain(pacs.certificate_file, pacs.key_file)
    except (OSError, ssl.SSLError):
        raise SettingsError(
            f"the PACS {pacs.name}: ca_file, certificate_file or key_file cannot be used: they are "
            "PEM files, and certificate and key belong together"
        ) from None
    return context

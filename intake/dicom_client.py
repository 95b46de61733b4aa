"""Associations that we ask other systems for: how they are made, ended, and why there is none.

Nothing of an answer is logged, and no sentence names a patient.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pynetdicom import AE, _config

from records.errors import PartError, SettingsError
from records.tls.calls import ClientTls, TlsAttempt

SUCCESS = 0x0000
FIND_PENDING = frozenset({0xFF00, 0xFF01})
"""C-FIND statuses with an answer; 0xFF01: optional keys were not matched (PS3.4 C.4.1.1.4 and
K.4.1.1.4)."""

OUT_OF_RESOURCES = range(0xA700, 0xA800)
"""Statuses of a system that has no room or time now (PS3.7 C.5.7)."""

MESSAGE_ID = 1
"""Of each operation: an association of ours has one at a time (PS3.7 9.1)."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A DICOM system that is asked, and how.

    Attributes:
        place: the system, as sentences name it.
        host: its address.
        port: its port.
        ae_title: its AE title.
        calling_ae: ours.
        seconds: within which it accepts a connection and an association, and how long it may be
            silent in one.
        tls: how its certificate is checked; None is no TLS.
        away: the error for a system that does not answer.
        calling_setting: where our title is set, as a sentence about a wrong one begins.
    """

    place: str
    host: str
    port: int
    ae_title: str
    calling_ae: str
    seconds: float
    tls: ClientTls | None
    away: Callable[[str], PartError]
    calling_setting: str

    @contextmanager
    def associated(
        self,
        contexts: Sequence[Any],
        *,
        roles: Sequence[Any] = (),
        handlers: Sequence[Any] = (),
        seconds: float | None = None,
    ) -> Iterator[Any]:
        """An association (pynetdicom's); it is released, or aborted where something failed.

        Args:
            contexts: presentation contexts. Which of them are accepted is for the caller to see.
            roles: role selections (PS3.7 D.3.3.4).
            handlers: pynetdicom's event handlers.
            seconds: how long it may be silent; None is `Peer.seconds`.

        Raises:
            PartError: of the kind `away`: there is no association.
            SettingsError: our AE title cannot be used.
        """
        entity = self.make_entity(seconds)
        tls_args = self.tls.attempt() if self.tls else None
        try:
            association = entity.associate(
                self.host,
                self.port,
                contexts=list(contexts),
                ae_title=self.ae_title,
                ext_neg=list(roles),
                tls_args=tls_args,
                evt_handlers=list(handlers),
            )
        except OSError:
            raise self.away(f"{self.place} has a name that is not known here") from None
        if not association.is_established:
            reason = why_not(association, tls_args[0] if tls_args else None)
            raise self.away(f"{self.place} {reason}")
        is_whole = False
        try:
            yield association
            is_whole = True
        finally:
            end: Callable[[], None] = association.release if is_whole else association.abort
            if association.is_established:
                end()

    def make_entity(self, seconds: float | None = None) -> AE:
        """Our side.

        Args:
            seconds: as `associated`.

        Raises:
            SettingsError: our AE title cannot be used.
        """
        try:
            entity = AE(self.calling_ae)
        except (ValueError, TypeError):
            raise SettingsError(
                f"{self.calling_setting} is an AE title: up to 16 ASCII characters without "
                "backslash"
            ) from None
        entity.connection_timeout = entity.acse_timeout = self.seconds
        entity.dimse_timeout = entity.network_timeout = seconds or self.seconds
        return entity


def silence_pynetdicom() -> None:
    """Let pynetdicom log nothing of what is asked and answered.

    Its lines about identifiers print them, and decode their texts before we do. Its errors about
    data sets that it cannot read quote them.
    """
    _config.LOG_REQUEST_IDENTIFIERS = _config.LOG_RESPONSE_IDENTIFIERS = False
    for name in ("pynetdicom", "pydicom"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def accepts(association: Any, sop_class: str) -> bool:
    """Whether the other side accepted a class."""
    return any(context.abstract_syntax == sop_class for context in association.accepted_contexts)


def why_not(association: Any, attempt: TlsAttempt | None = None) -> str:
    """Why there is no association, in the standard's words (PS3.8 section 9.3.4).

    Args:
        association: pynetdicom's.
        attempt: its TLS; None where it had none.
    """
    if association.is_rejected:
        primitive = association.acceptor.primitive
        reason = getattr(primitive, "reason_str", "") or "no reason given"
        return f"refuses our association ({reason.lower()})"
    if attempt and attempt.problem:
        return f"does not accept an association over TLS: {attempt.problem}"
    if association.is_aborted:
        return "does not accept an association: nobody answers there, or it hung up"
    return "does not accept an association"

"""Who looked at whom: what a request or a command reads of patients, and the entry about it.

Functions that read rows for people note whose these are (`note_look`). Whoever shows them records
what was noted before anything leaves: the web server in `api.looks`, commands in
`nightdraft.cli.looks`. Where nobody collects, as in the running parts, nothing is noted.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from records.audit.trail import NamedPatient, record
from records.database.session import unit_of_work
from records.emergency_grants import grant_of, mark
from records.states import AuditAction

THINGS_NAMED = 20
"""Things without a study or patient that one entry names, at most; of more it says how many."""


@dataclass(frozen=True, slots=True)
class PatientNumber:
    """A patient by id and issuer alone."""

    patient_id: str  # (0010,0020)
    issuer: str  # (0010,0021)


@dataclass(slots=True)
class Looks:
    """What was noted and is not recorded yet, and what is.

    Attributes:
        study_ids: studies.
        patients: patients of what belongs to no study: an order, a report.
        things: what else may name a patient, by our own words and ids.
    """

    study_ids: dict[uuid.UUID, None] = field(default_factory=dict)
    patients: dict[PatientNumber, None] = field(default_factory=dict)
    things: dict[str, None] = field(default_factory=dict)
    _recorded: set[uuid.UUID | PatientNumber | str] = field(default_factory=set)

    def __bool__(self) -> bool:
        return bool(self.study_ids or self.patients or self.things)

    def clear(self) -> None:
        """Forget what is not recorded yet: it is not shown."""
        for noted in (self.study_ids, self.patients, self.things):
            noted.clear()

    def write(self, detail: str, action: AuditAction = AuditAction.VIEW) -> None:
        """Record what was noted, in a transaction of its own; each thing once.

        It is one entry, and another one for studies that were opened in an emergency.

        Args:
            detail: what was asked for, in our own words.
            action: VIEW or EXPORT.

        Raises:
            DatabaseDown, SettingsError: it could not be recorded, and must not be shown.
        """
        study_ids = [one for one in self.study_ids if one not in self._recorded]
        patients = [one for one in self.patients if one not in self._recorded]
        things = [one for one in self.things if one not in self._recorded]
        if study_ids or patients or things:
            named = ", ".join(things[:THINGS_NAMED])
            if len(things) > THINGS_NAMED:
                named += f" and {len(things) - THINGS_NAMED} more"
            said = f"{detail}: {named}" if named else detail
            grants = {one: grant for one in study_ids if (grant := grant_of(one)) is not None}
            others = [one for one in study_ids if one not in grants]
            with unit_of_work() as session:
                if grants:
                    # Of what is shown beside studies of an emergency, all is theirs.
                    alone = not others
                    record(
                        session,
                        action,
                        study_ids=list(grants),
                        patients=patients if alone else (),
                        detail=mark(
                            {grant.access_id for grant in grants.values()},
                            said if alone else detail,
                        ),
                    )
                if others or not grants:
                    record(session, action, study_ids=others, patients=patients, detail=said)
            self._recorded.update(study_ids, patients, things)
        self.clear()


_looks: ContextVar[Looks | None] = ContextVar("_looks", default=None)


@contextmanager
def collect_looks() -> Iterator[Looks]:
    """Collect what is read of patients within the block."""
    looks = Looks()
    token = _looks.set(looks)
    try:
        yield looks
    finally:
        _looks.reset(token)


def note_look(
    *,
    study_ids: Iterable[uuid.UUID | None] = (),
    patients: Iterable[NamedPatient] = (),
    thing: str = "",
) -> None:
    """Note that something of these was read for a person or a program.

    Args:
        study_ids: our ids; None is left out.
        patients: those of what belongs to no study.
        thing: what may name a patient of whom nothing else is known here, as `message <our id>`.
    """
    looks = _looks.get()
    if looks is None:
        return
    looks.study_ids.update((one, None) for one in study_ids if one is not None)
    looks.patients.update((PatientNumber(one.patient_id, one.issuer), None) for one in patients)
    if thing:
        looks.things[thing] = None


def forget_looks() -> None:
    """Forget what was noted: it was read to compare it with what is shown, and is not shown."""
    looks = _looks.get()
    if looks is not None:
        looks.clear()


def read_noted() -> Looks:
    """A copy of what was noted and is not recorded yet."""
    looks = _looks.get() or Looks()
    return Looks(dict(looks.study_ids), dict(looks.patients), dict(looks.things))


def write_looks(detail: str, action: AuditAction = AuditAction.VIEW) -> None:
    """Record what was noted; see `Looks.write`."""
    looks = _looks.get()
    if looks is not None:
        looks.write(detail, action)

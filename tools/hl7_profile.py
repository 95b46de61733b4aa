"""Writes docs/operate/integration/hl7-profile.md out of the rules that the HL7 listener has.

python -m tools.hl7_profile > docs/operate/integration/hl7-profile.md
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Mapping

from intake.hl7.answers import ACCEPT_CODES
from intake.hl7.reading import IGNORED_CODES, PROCESSING_IDS, READERS
from intake.hl7.refusal import ErrorCode
from intake.hl7.rules import (
    ACTIONS,
    DOCUMENT_STATUSES,
    OTHER_DOCUMENTS,
    OTHER_SERVICES,
    PATIENT_ID_TYPES,
    PRIORITIES,
    REPORT_STATUSES,
    RULES,
    STATUS_ACTIONS,
)
from records.hl7_messages import CHARACTER_SETS
from records.hl7_results import TEXT_TYPES
from records.section_codes import BODY, OTHER, SECTION_CODES

_DOES = {
    "read_orders": "makes, changes or cancels orders",
    "read_patient_effects": "corrects, merges or moves patients",
    "read_reports": "brings reports",
}


def profile() -> str:
    """The text of the page."""
    types = defaultdict(list)
    for name, reader in READERS.items():
        types[_DOES[reader.__name__]].append(name)
    return f"""# HL7 v2 conformance profile

What the HL7 listener takes and answers. `python -m tools.hl7_profile` makes this page out of the
rules that the listener has; a test compares the two. How it is set up: [HL7](hl7.md).

## Messages

Versions 2.1 to 2.9, over MLLP release 1. MSH-12 is not checked.

| messages | what they do |
|---|---|
{_rows((", ".join(f"`{name}`" for name in names), does) for does, names in types.items())}
| `{"`, `".join(f"{code}^*" for code in IGNORED_CODES)}`, as far as they do not stand above | are \
accepted and change nothing |
| `ACK`, `MCF` | are not answered |
| everything else | is rejected (AR) |

- MSH-11 is one of {", ".join(PROCESSING_IDS)}; empty counts as P. T and D are answered and have no
  effect, unless `NIGHTDRAFT_HL7_TEST_SYSTEM` is set.
- MSH-18 names one of {", ".join(CHARACTER_SETS)}. Other
  usual names are known, too, as ISO-8859-1, ISO_IR 100, windows-1252 and UTF8. Without it a
  message is UTF-8 or, where it is none, Latin-1 as Windows has it. A message with letters beyond
  ASCII whose MSH-18 names another character set is refused (103). Answers have the character set
  of the message.
- `OBR-24` of results that are not of imaging, which change nothing:
  {", ".join(sorted(OTHER_SERVICES))}. `TXA-2` of such documents: {
        ", ".join(sorted(OTHER_DOCUMENTS))
    }.

## Acknowledgments

| MSH-15 and MSH-16 | answers |
|---|---|
| both empty: original mode | {", ".join(ACCEPT_CODES)}, after the commit |
| one is set: enhanced mode | {", ".join(ACCEPT_CODES.values())} as MSH-15 asks, then \
{", ".join(ACCEPT_CODES)} as MSH-16 asks, both after the commit and over the same connection |

AL asks for each answer, NE for none, ER for those of errors, SU for those of success. Where MSH-16
asks for no answer about an error, the accept acknowledgment tells of it (CE, CR). A message that
could not be stored through no fault of its own gets no answer, and its connection is closed.

| ERR-3 | meaning | answer |
|---|---|---|
{_rows((error.code, error.meaning, "AR" if error.is_rejection else "AE") for error in ErrorCode)}

## Fields

| rule | what it is | read for | taken is | from |
|---|---|---|---|---|
{
        _rows(
            (f"`{name}`", rule.meaning, rule.use, rule.pick, ", ".join(rule.sources))
            for name, rule in RULES.items()
        )
    }

Of PID-3 the first id of type {", ".join(PATIENT_ID_TYPES)} is taken, else the first; the others are
kept with it. Texts of observations (OBX-5 of type {
        ", ".join(filter(None, TEXT_TYPES))
    } or none) are
divided into findings and impression by the code in OBX-3, or by headings in the text.

## Codes

| priority | codes of the rule `priority` |
|---|---|
{_rows(_by_value(PRIORITIES))}

| what is done | ORC-1 |
|---|---|
{_rows(_by_value(ACTIONS))}

| what is done, where ORC-1 does not cancel | ORC-5 |
|---|---|
{_rows(_by_value(STATUS_ACTIONS))}

| status of a report | OBR-25 | TXA-17 |
|---|---|---|
{
        _rows(
            (
                status,
                ", ".join(code for code, s in REPORT_STATUSES.items() if s is status),
                ", ".join(code for code, s in DOCUMENT_STATUSES.items() if s is status),
            )
            for status in dict.fromkeys(REPORT_STATUSES.values())
        )
    }

| section of a report | codes in OBX-3.1, and its suffixes |
|---|---|
{_rows(_by_value(SECTION_CODES))}

`{BODY}` is divided by its headings, `{
        OTHER
    }` is left out. Where no code is known, the name in OBX-3.2
says which section it is.
"""


def _rows(rows: object) -> str:
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in rows)  # type: ignore[attr-defined]


def _by_value(codes: Mapping[str, object]) -> list[tuple[str, str]]:
    by_value = defaultdict(list)
    for code, value in codes.items():
        by_value[str(value) if isinstance(value, str) else getattr(value, "name", "")].append(code)
    return [(name, ", ".join(names)) for name, names in by_value.items()]


if __name__ == "__main__":
    sys.stdout.write(profile())

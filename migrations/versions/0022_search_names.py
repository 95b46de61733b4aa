"""A name is found as a page prints it, with accents or without, and in each of its groups.

Revision ID: 0022
Revises: 0021
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

SEPARATORS = "^=,;.-_/'\"()*\\\u2010\u2011\u2012\u2013\u2014\u2018\u2019\u00b7\u30fb"

_HIRAGANA = "".join(map(chr, range(0x3041, 0x3097)))
_KATAKANA = "".join(map(chr, range(0x30A1, 0x30F7)))

_ONE_LETTER = {"ø": "o", "đ": "d", "ð": "d", "ł": "l", "ħ": "h", "ı": "i"}

_TWO_LETTERS = {"ß": "ss", "æ": "ae", "œ": "oe", "þ": "th"}
_DIGRAPHS = {"ä": "ae", "ö": "oe", "ü": "ue", "å": "aa", "ø": "oe"}


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _replaced(expression: str, letters: dict[str, str]) -> str:
    for letter, spelled in letters.items():
        expression = f"replace({expression}, {_quoted(letter)}, {_quoted(spelled)})"
    return expression


def _search_form() -> str:
    letters = "lower(normalize(value, NFKC))"
    letters = f"CASE WHEN digraphs THEN {_replaced(letters, _DIGRAPHS)} ELSE {letters} END"
    letters = _replaced(letters, _TWO_LETTERS)
    singles = "".join(_ONE_LETTER) + _HIRAGANA
    typed = "".join(_ONE_LETTER.values()) + _KATAKANA
    letters = f"translate({letters}, {_quoted(singles)}, {_quoted(typed)})"
    # What is left of an accented letter without its accent.
    letters = f"regexp_replace(normalize({letters}, NFKD), '[\\u0300-\\u036f]', '', 'g')"
    spaces = _quoted(" " * len(SEPARATORS))
    words = f"translate({letters}, {_quoted(SEPARATORS)}, {spaces})"
    return f"btrim(regexp_replace({words}, '\\s+', ' ', 'g'))"


FUNCTIONS = (
    f"""
CREATE FUNCTION search_form(value text, digraphs boolean) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN {_search_form()};
""",
    # A component group of a Person Name without spaces: Japanese and Chinese names have none.
    """
CREATE FUNCTION search_group(name text, number integer) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN replace(search_form(split_part(name, '=', number), false), ' ', '');
""",
    """
CREATE FUNCTION search_words(name text, patient_id text, accession_number text)
    RETURNS tsvector LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN array_to_tsvector(array_remove(string_to_array(
        search_form(name || ' ' || patient_id || ' ' || accession_number, false) || ' '
        || search_form(name, true) || ' ' || search_group(name, 2) || ' ' || search_group(name, 3)
        || CASE WHEN name ~ '^[^=]*[\\u3040-\\u9fff\\uac00-\\ud7af]'
            THEN ' ' || search_group(name, 1) ELSE '' END,
    ' '), ''));
""",
)

_C_COLLATION = "' '::text COLLATE \"C\""
INDEXES = {  # name: expression, and which studies it holds
    "ix_studies_patient_name": (f"rtrim(search_form(patient_name, false), {_C_COLLATION})", None),
    "ix_studies_name_digraphs": (
        f"rtrim(search_form(patient_name, true), {_C_COLLATION})",
        "search_form(patient_name, true) <> search_form(patient_name, false)",
    ),
    "ix_studies_name_ideographic": (
        f"rtrim(search_group(patient_name, 2), {_C_COLLATION})",
        "split_part(patient_name, '='::text, 2) <> ''::text",
    ),
    "ix_studies_name_phonetic": (
        f"rtrim(search_group(patient_name, 3), {_C_COLLATION})",
        "split_part(patient_name, '='::text, 3) <> ''::text",
    ),
}

# As migration 0011 made them.
_OLD_SEPARATORS = """'^=,;.-_/''"()*'::text"""
_OLD_SPACES = "'             '::text"
OLD_NAME = f'translate(lower(patient_name), {_OLD_SEPARATORS} COLLATE "C", {_OLD_SPACES})'
OLD_WORDS = (
    "array_to_tsvector(array_remove(string_to_array(translate(lower("
    "(((patient_name || ' '::text) || patient_id) || ' '::text) || accession_number), "
    f"{_OLD_SEPARATORS}, {_OLD_SPACES}), ' '::text), ''::text))"
)


def _index_words(expression: str) -> None:
    op.create_index(
        "ix_studies_words",
        "studies",
        [sa.text(expression)],
        unique=False,
        postgresql_using="gin",
        postgresql_with={"fastupdate": "off"},
    )


def upgrade() -> None:
    op.drop_index("ix_studies_words", table_name="studies")
    op.drop_index("ix_studies_patient_name", table_name="studies")
    for function in FUNCTIONS:
        op.execute(function)
    for name, (expression, condition) in INDEXES.items():
        op.create_index(
            name,
            "studies",
            [sa.text(expression)],
            unique=False,
            postgresql_where=sa.text(condition) if condition else None,
        )
    _index_words("search_words(patient_name, patient_id, accession_number)")


def downgrade() -> None:
    for name in ("ix_studies_words", *INDEXES):
        op.drop_index(name, table_name="studies")
    op.execute(
        "DROP FUNCTION search_words(text, text, text), search_group(text, integer),"
        " search_form(text, boolean)"
    )
    op.create_index("ix_studies_patient_name", "studies", [sa.text(OLD_NAME)], unique=False)
    _index_words(OLD_WORDS)

"""How names are compared by the search: SQL functions, in which the indexes are made as well.

A name may be written in many ways: with capitals or without, with accents, umlauts or digraphs
(Mueller), in letters of another width, in hiragana or katakana, with carets as in DICOM or as a
page prints it. `search_form` gives one form for all of them; with `digraphs` the one in which
umlauts become two letters. A migration makes the functions; a test compares it with this module.
"""

from __future__ import annotations

SEARCH_SEPARATORS = "^=,;.-_/'\"()*\\\u2010\u2011\u2012\u2013\u2014\u2018\u2019\u00b7\u30fb"
"""Characters between the words of names and ids (PS3.5, 6.2.1, and what people type)."""

_HIRAGANA = "".join(map(chr, range(0x3041, 0x3097)))
_KATAKANA = "".join(map(chr, range(0x30A1, 0x30F7)))

_ONE_LETTER = {"ø": "o", "đ": "d", "ð": "d", "ł": "l", "ħ": "h", "ı": "i"}
"""Letters that Unicode does not take apart, and what is typed for them."""

_TWO_LETTERS = {"ß": "ss", "æ": "ae", "œ": "oe", "þ": "th"}
_DIGRAPHS = {"ä": "ae", "ö": "oe", "ü": "ue", "å": "aa", "ø": "oe"}
"""Letters that are also spelled with two."""


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
    spaces = _quoted(" " * len(SEARCH_SEPARATORS))
    words = f"translate({letters}, {_quoted(SEARCH_SEPARATORS)}, {spaces})"
    return f"btrim(regexp_replace({words}, '\\s+', ' ', 'g'))"


SEARCH_FUNCTIONS = (
    f"""
CREATE OR REPLACE FUNCTION search_form(value text, digraphs boolean) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN {_search_form()};
""",
    # A component group of a Person Name without spaces: Japanese and Chinese names have none.
    """
CREATE OR REPLACE FUNCTION search_group(name text, number integer) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN replace(search_form(split_part(name, '=', number), false), ' ', '');
""",
    """
CREATE OR REPLACE FUNCTION search_words(name text, patient_id text, accession_number text)
    RETURNS tsvector LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN array_to_tsvector(array_remove(string_to_array(
        search_form(name || ' ' || patient_id || ' ' || accession_number, false) || ' '
        || search_form(name, true) || ' ' || search_group(name, 2) || ' ' || search_group(name, 3)
        || CASE WHEN name ~ '^[^=]*[\\u3040-\\u9fff\\uac00-\\ud7af]'
            THEN ' ' || search_group(name, 1) ELSE '' END,
    ' '), ''));
""",
)
"""What makes the functions, in their order."""

# What the search compares with, as PostgreSQL writes it: an expression is found in its index only
# if it is the same. The collation C makes the beginning of a text a range of the index. It comes in
# by an argument, because Alembic does not read that of an index.
_C_COLLATION = "' '::text COLLATE \"C\""
SEARCHED_NAME = f"rtrim(search_form(patient_name, false), {_C_COLLATION})"
SEARCHED_DIGRAPHS = f"rtrim(search_form(patient_name, true), {_C_COLLATION})"
SEARCHED_IDEOGRAPHIC = f"rtrim(search_group(patient_name, 2), {_C_COLLATION})"
SEARCHED_PHONETIC = f"rtrim(search_group(patient_name, 3), {_C_COLLATION})"
SEARCHED_PATIENT_ID = 'upper(patient_id COLLATE "C")'
SEARCHED_ACCESSION_NUMBER = 'upper(accession_number COLLATE "C")'
SEARCHED_WORDS = "search_words(patient_name, patient_id, accession_number)"

HAS_DIGRAPHS = "search_form(patient_name, true) <> search_form(patient_name, false)"
HAS_IDEOGRAPHIC = "split_part(patient_name, '='::text, 2) <> ''::text"
HAS_PHONETIC = "split_part(patient_name, '='::text, 3) <> ''::text"
"""Which names the small indexes hold; most names have none of these."""

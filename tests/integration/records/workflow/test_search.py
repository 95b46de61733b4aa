"""The search: what a person types, and which studies it finds."""

import pytest
from sqlalchemy import text

from api.rendering import person_name
from records.database.session import unit_of_work
from records.states import VisibleState
from records.workflow import search, worklist
from records.workflow.patients import Patient
from tests.support.registered_studies import complete, new_instance, register

STUDIES = {  # Study Instance UID: patient id, name, accession number
    "1.1": ("P-1", "MEIER^ANNA^^DR", "ACC.100"),
    "1.2": ("P-10", "MEIERHOFER^HANS-PETER", "ACC.1000"),
    "1.3": ("77", "O'NEIL^SIAN=ヤマダ^タロウ", "acc.200"),
    "1.4": ("100%_x", "VAN DER BERG^Łucja", ""),
    "1.5": ("", "ANNA^MEIER", "P-1.5"),
    "1.6": ("ü1", "BACK'SLASH", "A:B&C|!(D)"),
}

NAMES = {  # Study Instance UID: a name as DICOM writes it
    "2.1": "DOE^JANE^^DR",
    "2.2": "MÜLLER^JÖRG",
    "2.3": "Mueller^Joerg",
    "2.4": "Mu\u0308ller^Andre\u0301",  # accents as characters of their own
    "2.5": "Muller^Andre",
    "2.6": "Yamada^Tarou=山田^太郎=やまだ^たろう",
    "2.7": "ﾔﾏﾀﾞ^ﾊﾅｺ=山田^花子=ﾔﾏﾀﾞ^ﾊﾅｺ",  # letters of half width
    "2.8": "Hong^Gildong=洪^吉洞=홍^길동",
    "2.9": "王^小東",  # ideographs in the first group
    "2.10": "Bjørn^Åse",
    "2.11": "GROẞ^İpek",
    "2.12": "O’Neil^Seán",
    "2.13": "DONOVAN^MARY",
    "2.14": "Łukasz^Żółw",
}

SPELLINGS = [  # what is typed, and the studies that are found
    ("Doe, Jane", {"2.1"}),
    ("DOE, JANE (DR)", {"2.1"}),
    ("Jane Doe", {"2.1"}),
    ("DOE^JANE", {"2.1"}),
    ("doe", {"2.1"}),  # and not DONOVAN: oe is no umlaut there
    ("Müller", {"2.2", "2.3", "2.4", "2.5"}),
    ("muller", {"2.2", "2.4", "2.5"}),
    ("MUELLER", {"2.2", "2.3", "2.4"}),
    ("mu\u0308ll", {"2.2", "2.3", "2.4", "2.5"}),
    ("Joerg Mueller", {"2.2", "2.3"}),
    ("jorg müller", {"2.2"}),
    ("Müller, André", {"2.4", "2.5"}),
    ("Yamada, Tarou / 山田, 太郎 / やまだ, たろう", {"2.6"}),
    ("山田", {"2.6", "2.7"}),
    ("山田太郎", {"2.6"}),
    ("山田 太", {"2.6"}),
    ("山田　花子", {"2.7"}),  # an ideographic space
    ("ヤマダ", {"1.3", "2.6", "2.7"}),
    ("やまだ はな", {"2.7"}),
    ("ヤマダハナコ", {"2.7"}),
    ("홍길동", {"2.8"}),
    ("길동", {"2.8"}),
    ("洪, 吉洞", {"2.8"}),
    ("王小東", {"2.9"}),
    ("王, 小東", {"2.9"}),
    ("Bjorn", {"2.10"}),
    ("bjoern aase", {"2.10"}),
    ("BJØRN, ÅSE", {"2.10"}),
    ("gross ipek", {"2.11"}),
    ("Groß", {"2.11"}),
    ("O'Neil, Sean", {"2.12"}),
    ("lukasz zolw", {"2.14"}),
    ("ŁUKASZ, ŻÓŁW", {"2.14"}),
]


WHOLE_NUMBERS = [  # what is typed, and the studies that are found
    ("P-1", {"1.1"}),  # whole: P-10 and the accession number P-1.5 are not shown
    ("p-10", {"1.2"}),
    ("acc.100", {"1.1"}),
    ("ACC.200", {"1.3"}),
    ("1.4", {"1.4"}),
    ("ü1", {"1.6"}),
    ("a:b&c|!(d)", {"1.6"}),
    (" 77 ", {"1.3"}),
]

BEGINNINGS_AND_WORDS = [  # what is typed, and the studies that are found
    ("p-", {"1.1", "1.2", "1.5"}),
    ("acc.1", {"1.1", "1.2"}),
    ("meier", {"1.1", "1.2", "1.5"}),  # a beginning of two names, and a word of the third
    ("Meier, An", {"1.1"}),
    ("meier^anna", {"1.1", "1.5"}),
    ("anna meier", {"1.1", "1.5"}),
    ("DR meier", {"1.1"}),
    ("peter", {"1.2"}),
    ("hans-pet", set()),  # words are whole
    ("o'neil", {"1.3"}),
    ("ヤマダ", {"1.3"}),
    ("van der b", {"1.4"}),
    ("ŁUCJA", {"1.4"}),
    ("100%", {"1.4"}),
    ("100_", {"1.1"}),  # the word 100; the line is a separator, and no joker
    ("%", set()),
    ("_", set()),
    ("\\", set()),
    ("'", set()),
    ("\\back", {"1.6"}),
    ("slash", {"1.6"}),
    ("a:b&", {"1.6"}),
    ("x' | 'meier", set()),
    ("!", set()),
    ("eier", set()),
    ("1.999", set()),  # a study UID is compared as a whole
    ("meier 100", {"1.1"}),  # a word of the name and one of the accession number
]


@pytest.fixture(autouse=True)
def _registered_studies(database):
    for uid, (patient_id, name, accession_number) in STUDIES.items():
        register(
            new_instance(
                uid, patient=Patient(patient_id, "", name), accession_number=accession_number
            )
        )


def find(typed):
    with unit_of_work() as session:
        page = worklist.read_page(session, search=typed)
        return {row.study_instance_uid for row in page.rows}, page.matches


def test_a_whole_number_comes_first():
    results = [(typed, *find(typed)) for typed, _ in WHOLE_NUMBERS]
    assert [(typed, uids) for typed, uids, _ in results] == WHOLE_NUMBERS
    assert all(matches.exact for _, _, matches in results)


def test_beginnings_and_whole_words_are_found():
    results = [(typed, *find(typed)) for typed, _ in BEGINNINGS_AND_WORDS]
    assert [(typed, uids) for typed, uids, _ in results] == BEGINNINGS_AND_WORDS
    assert not any(matches.exact or matches.capped for _, _, matches in results)


def test_a_name_is_found_however_it_is_spelled():
    for uid, name in NAMES.items():
        register(new_instance(uid, patient=Patient(f"N{uid}", "", name), accession_number=""))
    results = [(typed, find(typed)[0]) for typed, _ in SPELLINGS]
    assert results == SPELLINGS
    for uid, name in NAMES.items():
        assert uid in find(person_name(name))[0], name  # as the page prints it
        assert uid in find(name)[0], name  # as DICOM writes it


def test_blanks_search_for_nothing():
    for typed in ("", "   "):
        uids, matches = find(typed)
        assert uids == set(STUDIES)
        assert matches is None


def test_a_search_within_a_state_and_on_pages():
    with unit_of_work() as session:
        held = worklist.read_page(session, state=VisibleState.HELD, search="meier")
        assert held.rows == []
        first = worklist.read_page(session, state=VisibleState.RECEIVING, search="meier", limit=2)
        rest = worklist.read_page(
            session, state=VisibleState.RECEIVING, search="meier", limit=2, after=first.next
        )
    uids = [row.study_instance_uid for row in first.rows + rest.rows]
    assert uids == ["1.5", "1.2", "1.1"]
    assert rest.next is None


def test_what_is_corrected_is_found_by_its_new_words():
    with unit_of_work() as session:
        session.execute(
            text("UPDATE studies SET patient_name = 'NEW^NAME' WHERE patient_id = '77'")
        )
    assert find("neil")[0] == set()
    assert find("name")[0] == {"1.3"}


def test_a_search_with_too_many_matches_says_so(monkeypatch):
    complete(new_instance("1.7", patient=Patient("Q", "", "MEIER^OTTO")))
    monkeypatch.setattr(search, "MATCHES", 3)
    uids, matches = find("meier")
    assert len(uids) == 3
    assert matches.capped
    uids, matches = find("meierhofer")
    assert uids == {"1.2"}
    assert not matches.capped

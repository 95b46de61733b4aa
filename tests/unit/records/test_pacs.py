"""The file of PACSs: what it may say, and what each error names."""

import pytest

from records.errors import NotFound, SettingsError
from records.pacs import find_pacs, read_pacs_file
from tests.support.doc_commands import code_blocks

WHOLE = """
[archive]
host = "pacs.example.org"
ae_title = "ARCHIVE"
retrieve = "c-move"
move_destination = "NIGHTDRAFT"

[web]
retrieve = "wado-rs"
url = "https://pacs.example.org/dicom-web/"
studies_per_minute = 5
"""


@pytest.fixture
def written(tmp_path):
    def write(text):
        file = tmp_path / "pacs.toml"
        file.write_text(text)
        return str(file)

    return write


def test_each_table_is_a_pacs(written):
    file = written(WHOLE)
    known = read_pacs_file(file)
    assert list(known) == ["archive", "web"]
    assert (known["archive"].port, known["archive"].retrieve) == (104, "c-move")
    assert known["web"].url == "https://pacs.example.org/dicom-web"
    assert find_pacs(file, "web").studies_per_minute == 5


def test_no_file_names_none():
    assert read_pacs_file("") == {}
    with pytest.raises(NotFound, match="NIGHTDRAFT_PACS_FILE"):
        find_pacs("", "archive")


def test_a_name_that_is_unknown_lists_those_that_are_known(written):
    with pytest.raises(NotFound, match="archive, web"):
        find_pacs(written(WHOLE), "other")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("host = 'x'", "outside of a table"),
        ("[a b]", "is not TOML"),
        ("['a b']", "no name of a PACS"),
        ("[a]", 'a: retrieve = "c-get" needs host and ae_title'),
        ("[a]\nretrieve = 'wado-rs'", "needs url"),
        ("[a]\nretrieve = 'ftp'", "a.retrieve: Input should be"),
        ("[a]\nhost = 'x'\nae_title = 'x'\nport = 0", "a.port: Input should be greater"),
        ("[a]\nhost = 'x'\nae_title = '12345678901234567'", "a.ae_title: "),
        (
            "[a]\nhost = 'x'\nae_titel = 'x'",
            "a.ae_titel: is no key of a PACS: did you mean ae_title",
        ),
        ("[a]\nretrieve = 'wado-rs'\nurl = 'ftp://x'", "a.url: a url begins"),
        ("[a]\nhost = 'x'\nae_title = 'x'\nkey_file = 'k'", "belong together"),
        ("[a]\nname = 'b'", "the table's own name"),
    ],
)
def test_errors_name_pacs_and_key(written, text, match):
    with pytest.raises(SettingsError) as caught:
        read_pacs_file(written(text))
    assert match in str(caught.value)
    assert "pacs.toml" in str(caught.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(SettingsError, match="cannot be read"):
        read_pacs_file(str(tmp_path / "none.toml"))


def test_the_page_s_example_can_be_used(tmp_path):
    (written,) = code_blocks("docs/operate/archive.md", "Name the PACS", "toml")
    file = tmp_path / "pacs.toml"
    file.write_text(written)
    (pacs,) = read_pacs_file(str(file)).values()
    assert (pacs.name, pacs.retrieve, pacs.associations) == ("archive", "c-get", 2)

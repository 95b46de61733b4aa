"""`nightdraft report-styles`: lists, shows, writes and takes the styles of sites."""

import json

import pytest
from typer.testing import CliRunner

from nightdraft.cli.main import app
from records.errors import NotAllowed, NotFound
from records.report_styles.content import StyleRefused
from tests.support.accounts import run_sql
from tests.support.report_styles import make_site_style
from tests.support.two_sites import make_north


def run(*arguments):
    return CliRunner().invoke(
        app, ["report-styles", *map(str, arguments)], catch_exceptions=False, env={"COLUMNS": "200"}
    )


def test_a_style_goes_from_one_site_to_another(database, tmp_path):
    make_north()
    make_site_style()
    assert "House" in run("list").output
    assert json.loads(run("list", "--json").output)["styles"][0]["site"] == "default"
    shown = run("show", "default").output
    assert "section findings: النتائج" in shown
    assert "wording: The lungs are clear. -> Lungs clear." in shown
    assert json.loads(run("show", "default", "--json").output)["version"] == 1
    with pytest.raises(NotFound):
        run("show", "north")
    file = tmp_path / "style.json"
    assert "version 1" in run("export", "default", "--out", file).output
    assert json.loads(run("import", "north", file, "--json").output)["site"] == "north"
    kept = run_sql("SELECT name, content FROM report_styles ORDER BY saved_at")
    assert kept[0] == kept[1]
    assert "version 1 of the report style" in run("import", "north", file).output, "it is the same"


def test_what_is_no_style_is_refused_and_changes_nothing(database, tmp_path):
    make_site_style()
    file = tmp_path / "style.json"
    run("export", "default", "--out", file, "--json")
    body = json.loads(file.read_text())
    body["wordings"][0]["house"] = "The lungs are not clear."
    file.write_text(json.dumps(body))
    with pytest.raises(StyleRefused, match="means something else"):
        run("import", "default", file)
    body["sections"][0]["section"] = "technique"
    file.write_text(json.dumps(body))
    with pytest.raises(NotAllowed, match=r"sections\.0\.section"):
        run("import", "default", file)
    file.write_text("{")
    with pytest.raises(NotAllowed, match="is no report style"):
        run("import", "default", file)
    with pytest.raises(NotAllowed, match="cannot be read"):
        run("import", "default", tmp_path / "none.json")
    assert run_sql("SELECT count(*) FROM report_styles") == [(1,)]

"""Alert rules and board ask for metrics that a scraped /metrics has, and for nothing else."""

import json
import re
import shutil
import subprocess

import pytest
import yaml
from starlette.testclient import TestClient

from api.app import make_app
from records.alarm_kinds import AlarmKind
from records.database.session import unit_of_work
from records.operations import alarms, callers, heartbeats, refusals
from records.settings import settings
from tests.support.campaigns import create, of_uids
from tests.support.paths import DOCS, ROOT
from tests.support.promql import faults, metric_names, scraped_series
from tests.support.seeded_studies import EXPECTED_PARTS, seed_heartbeats

FOLDER = ROOT / "docker/observability"
ALERTS = FOLDER / "alerts.yaml"
RULES = [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]
BOARD = json.loads((FOLDER / "grafana/dashboards/nightdraft.json").read_text())


@pytest.fixture
def metrics(database, broker, data_dir):
    """What a scrape gives while all goes on that metrics tell of."""
    seed_heartbeats(*EXPECTED_PARTS, "api")
    with unit_of_work() as session:
        facts = {
            "slots": 8,
            "busy": 0.9,
            "occupancy": 0.5,
            "studies_per_second": 1.0,
            "tokens_per_second": 50.0,
            "reruns": 0,
        }
        heartbeats.record_heartbeat(session, "draft", facts)
        shown = {"purpose": "the pages", "ends": "2050-01-01T00:00:00+00:00", "problem": ""}
        heartbeats.record_heartbeat(session, "api", {heartbeats.CERTIFICATES: [shown]})
        alarms.raise_alarm(session, AlarmKind.DISK_FULL, "listener", "No room.")
        alarms.raise_alarm(session, AlarmKind.MESSAGES_REFUSED, "messages by HL7 from RIS", "-")
        alarms.raise_alarm(session, AlarmKind.NIGHT_LATE, "night", "-")
        callers.record_films(session, {"ED_CR": 3.0})
        refusals.record_refusal(
            session,
            calling_ae="X",
            sop_class_uid="1",
            sop_instance_uid="2",
            reason="sop_class",
            sentence="-",
        )
    create(studies=of_uids("1.2.3"))
    with TestClient(make_app(settings()), base_url="http://localhost") as client:
        return client.get("/metrics").text


def labels_of_templates(*texts):
    return {name for text in texts for name in re.findall(r"\$labels\.(\w+)", text)}


def test_every_expression_is_answered(metrics):
    series = scraped_series(metrics)
    wrong = {
        rule["alert"]: fault
        for rule in RULES
        if (fault := faults(
            rule["expr"], series, labels_of_templates(*rule["annotations"].values())
        ))
    }  # fmt: skip
    for panel in BOARD["panels"]:
        for target in panel["targets"]:
            legend = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            if fault := faults(target["expr"], series, legend):
                wrong[panel["title"]] = fault
    assert not wrong


def test_every_metric_of_the_page_on_monitoring_is_scraped_and_every_family_is_on_it(metrics):
    text = (DOCS / "operate/monitoring.md").read_text()
    listed = set(re.findall(r"^\| `(nightdraft_\w+)", text, re.M))
    scraped = {name for name in scraped_series(metrics) if name.startswith("nightdraft_")}
    families = {re.sub(r"_(bucket|count|sum)$", "", name) for name in scraped if "time_to" in name}
    scraped = {name for name in scraped if "time_to" not in name} | families
    scraped -= {name for name in scraped if name.endswith("_created")}
    # Seen only once a scrub has run, where films came for a day, or where a campaign has a pace.
    assert listed - scraped == {
        "nightdraft_campaign_done_timestamp_seconds",
        "nightdraft_campaign_left_at_end",
        "nightdraft_disk_days_left",
        "nightdraft_scrub_read_timestamp_seconds",
        "nightdraft_scrub_round_timestamp_seconds",
    }
    assert scraped - listed == set()


def test_every_alert_leads_to_a_heading_of_the_runbook_and_says_what_it_is():
    anchors = {
        heading.lower().replace(" ", "-")
        for heading in re.findall(r"^#+ (.*)$", (DOCS / "operate/runbook.md").read_text(), re.M)
    }
    assert len({rule["alert"] for rule in RULES}) == len(RULES)
    for rule in RULES:
        page, _, anchor = rule["annotations"]["runbook"].partition("#")
        assert page == "docs/operate/runbook.md"
        assert anchor in anchors, rule["alert"]
        assert rule["annotations"]["summary"].endswith("."), rule["alert"]
        assert rule["labels"]["severity"] in ("page", "warn"), rule["alert"]


def test_the_files_of_the_containers_name_each_other():
    prometheus = yaml.safe_load((FOLDER / "prometheus.yaml").read_text())
    compose = yaml.safe_load((ROOT / "docker/compose.yaml").read_text())["services"]
    mounted = " ".join(compose["prometheus"]["volumes"] + compose["grafana"]["volumes"])
    for path in prometheus["rule_files"]:
        assert f":{path}:" in mounted
    (job,) = prometheus["scrape_configs"]
    (target,) = job["static_configs"][0]["targets"]
    assert target.partition(":")[0] in compose
    provisioning = FOLDER / "grafana/provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources/prometheus.yaml").read_text())[
        "datasources"
    ]
    (provider,) = yaml.safe_load((provisioning / "dashboards/nightdraft.yaml").read_text())[
        "providers"
    ]
    assert f":{provider['options']['path']}:" in mounted
    assert {panel["datasource"]["uid"] for panel in BOARD["panels"]} == {source["uid"]}


def test_promtool_takes_the_rules():
    program = shutil.which("promtool")
    if program is None:
        # It is not in the wheels; the tests above read the rules without it.
        assert RULES
        return
    subprocess.run([program, "check", "rules", str(ALERTS)], check=True, capture_output=True)


def test_what_does_not_exist_is_found(metrics):
    series = scraped_series(metrics)
    for expression, fault in (
        ("rate(nightdraft_gone_total[5m]) > 1", "no metric nightdraft_gone_total"),
        ('nightdraft_up{part="postgres"} == 0', "nightdraft_up has no part postgres"),
        ('nightdraft_studies{status="HELD"}', "nightdraft_studies has no label status"),
        ('nightdraft_studies{state=~"HELD|LOST"}', "nightdraft_studies has no state LOST"),
        ("sum by (caller) (nightdraft_failures_total)", "no label caller"),
        ("vector(1)", "no metric at all"),
    ):
        assert faults(expression, series) == [fault]
    assert faults("sum(nightdraft_failures_total)", series, {"reason"}) == ["no label reason"]
    assert faults("sum by (reason) (nightdraft_failures_total)", series, {"reason"}) == []


@pytest.mark.parametrize(
    ("expression", "names"),
    [
        ('sum by (le) (rate(a_bucket{x="b|c"}[5m])) > 4 * 3600', {"a_bucket"}),
        ("a < b or predict_linear(c[6h], 24 * 3600) < d unless on (x, y) e", set("abcde")),
        ("increase(a_total[1h] offset 1d) == bool 0 and time() - b > 1e3", {"a_total", "b"}),
    ],
)
def test_the_metrics_of_an_expression_are_read(expression, names):
    assert metric_names(expression) == names

"""The numbers of the system for Prometheus, made from kept numbers and small tables at each scrape.

No label reveals anything about a patient. docs/operate/monitoring.md lists the families.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from sqlalchemy.orm import Session

from records import handshakes, received_messages
from records.blobs import Blobs
from records.broker import broker_client
from records.campaigns import campaigns, counting, progress
from records.database.operation_tables import Heartbeat
from records.database.session import database_time, snapshot
from records.errors import NightdraftError
from records.handshakes import HandshakeOutcome
from records.operations import (
    callers,
    certificates,
    heartbeats,
    overview,
    refusals,
    tonight,
    troubles,
)
from records.operations.scrub import ScrubState, read_scrub_state
from records.retention.disk import DiskPace, read_pace
from records.settings import Settings
from records.states import FailReason, HoldReason, Stage, TallyKind
from records.workflow import tallies, worklist

_COUNTED_PARTS = ("listener", "sweep", "prepare", "draft")
"""Parts whose numbers are 0, and not absent, where none runs."""

_PACE_SECONDS = 300.0
"""How old the measured pace of the disk may be."""

_REDIS_SECONDS = 2.0
"""How long a scrape or a check waits for Redis."""


def queue_lengths(settings: Settings) -> dict[str, int]:
    """Bells that wait in Redis, by queue.

    Raises:
        BrokerDown: Redis does not answer.
        SettingsError: nothing says where it is.
    """
    with broker_client(settings.address("redis_url"), _REDIS_SECONDS) as client:
        # A stage's queue is a Redis list of the stage's name.
        return {stage.value: int(client.llen(stage.value)) for stage in Stage}


class SystemCollector(Collector):
    """Makes Prometheus families from the rows at each scrape, so that restarts lose nothing."""

    def __init__(self, settings: Settings, *, names_machines: bool = True) -> None:
        """Prepare.

        Args:
            settings: where everything is.
            names_machines: whether labels may name machines and devices of the house.
        """
        self.settings = settings
        self._names_machines = names_machines
        self._pace: DiskPace | None = None
        self._pace_read_at = 0.0

    def collect(self) -> Iterator[Metric]:
        """Yield every family that may be told."""
        for family in self._collect():
            if self._names_machines:
                yield family
            else:
                yield from _without_names(family)

    def _collect(self) -> Iterator[Metric]:
        """Yield every family; where a part is down, its numbers are left out and `up` says so."""
        up = GaugeMetricFamily("nightdraft_up", "1 where the part answers the API", labels=["part"])
        try:
            yield from self._from_rows()
            up.add_metric(["database"], 1)
        except NightdraftError:
            up.add_metric(["database"], 0)
        try:
            queues = GaugeMetricFamily(
                "nightdraft_queue_length", "Bells waiting in Redis", labels=["queue"]
            )
            for queue, length in queue_lengths(self.settings).items():
                queues.add_metric([queue], length)
            yield queues
            up.add_metric(["redis"], 1)
        except NightdraftError:
            up.add_metric(["redis"], 0)
        yield up
        yield _counter(
            "nightdraft_https_handshakes",
            "TLS handshakes of the pages' port since this server began, by what became of them",
            "outcome",
            {outcome.value: handshakes.outcomes[outcome] for outcome in HandshakeOutcome},
        )
        try:
            free = Blobs(self.settings.data_dir).free_mb() * 1_000_000
            yield GaugeMetricFamily(
                "nightdraft_disk_free_bytes", "Free space on the blob volume", value=free
            )
            for name, limit in (
                ("warn", self.settings.disk_warn_mb),
                ("stop", self.settings.disk_stop_mb),
            ):
                yield GaugeMetricFamily(
                    f"nightdraft_disk_{name}_bytes",
                    f"NIGHTDRAFT_DISK_{name.upper()}_MB, in bytes",
                    value=limit * 1_000_000,
                )
            yield from self._disk_pace(max(0, free - self.settings.disk_stop_mb * 1_000_000))
        except OSError:
            pass  # no folder: the family is absent, and /readyz says why

    def _disk_pace(self, free: int) -> Iterator[Metric]:
        """How long the disk lasts. It is measured anew every few minutes: it reads many rows."""
        now = time.monotonic()
        if self._pace is None or now - self._pace_read_at > _PACE_SECONDS:
            try:
                with snapshot() as session:
                    self._pace, self._pace_read_at = read_pace(session), now
            except NightdraftError:
                return  # `up` says that the database is down
        pace = self._pace
        yield GaugeMetricFamily(
            "nightdraft_disk_pace_days",
            "Days over which arrivals and removals of films were measured, 7 at most",
            value=pace.days,
        )
        flow = GaugeMetricFamily(
            "nightdraft_disk_flow_bytes",
            "Bytes of films that arrived and that retention removed in these days",
            labels=["direction"],
        )
        flow.add_metric(["arrived"], pace.arrived)
        flow.add_metric(["removed"], pace.removed)
        yield flow
        if pace.is_known:
            left = pace.days_left(free)
            yield GaugeMetricFamily(
                "nightdraft_disk_days_left",
                "Days until the disk is full at the present pace; absent while it is not known",
                value=math.inf if left is None else left,
            )

    def _from_rows(self) -> Iterator[Metric]:
        with snapshot() as session:
            # All rows are read before anything is given: the caller may take its time.
            yield from [
                *_from_studies(session),
                *_from_tallies(session),
                *_from_parts(session),
                *_from_night(session, self.settings),
                *_from_campaigns(session),
                *_from_callers(session),
                *_from_certificates(session),
                *_from_scrub(read_scrub_state(session)),
            ]


def _from_studies(session: Session) -> Iterator[Metric]:
    states = worklist.count_by_state(session)
    yield _gauge(
        "nightdraft_studies",
        "Studies by visible state",
        "state",
        {str(state): number for state, number in states.items()},
    )
    since = worklist.oldest_waiting(session)
    yield GaugeMetricFamily(
        "nightdraft_oldest_waiting_seconds",
        "Since the arrival of the oldest study that is neither ended nor held",
        value=(database_time(session) - since).total_seconds() if since else 0.0,
    )


def _from_tallies(session: Session) -> Iterator[Metric]:
    """What is counted as it happens; what never occurred is 0, so that rates see the first."""
    yield CounterMetricFamily(
        "nightdraft_drafts", "Drafts kept", value=tallies.count_saved_drafts(session)
    )
    yield _counter(
        "nightdraft_refusals",
        "Objects and associations refused",
        "reason",
        refusals.count_by_reason(session),
    )
    yield _counter(
        "nightdraft_messages",
        "Messages of other systems received, by what became of them",
        "outcome",
        received_messages.count_by_outcome(session),
    )
    yield GaugeMetricFamily(
        "nightdraft_messages_open",
        f"Refused messages that nobody has settled; at most {overview.OPEN_MESSAGES_COUNTED}",
        value=overview.count_open_messages(session),
    )
    no_holds = dict.fromkeys(map(str, HoldReason), 0)
    yield _counter(
        "nightdraft_holds",
        "Holds opened, by reason",
        "reason",
        no_holds | tallies.read_numbers(session, TallyKind.HOLDS),
    )
    yield _gauge(
        "nightdraft_holds_open",
        "Holds that wait for a decision, by reason",
        "reason",
        no_holds | tallies.read_numbers(session, TallyKind.OPEN_HOLDS),
    )
    yield _counter(
        "nightdraft_failures",
        "Requests that FAILED, by reason",
        "reason",
        dict.fromkeys(map(str, FailReason), 0) | tallies.read_numbers(session, TallyKind.FAILURES),
    )
    yield _counter(
        "nightdraft_part_deaths",
        "Processes that ended without a word or hung, by part",
        "part",
        dict.fromkeys(_COUNTED_PARTS, 0) | tallies.read_numbers(session, TallyKind.DEATHS),
    )
    times = tallies.read_time_to_draft(session)
    yield HistogramMetricFamily(
        "nightdraft_time_to_draft_seconds",
        "From the first film of a study to its first draft",
        buckets=[
            ("+Inf" if bound == math.inf else str(bound), number)
            for bound, number in times.counts.items()
        ],
        sum_value=times.seconds,
    )


def _from_parts(session: Session) -> Iterator[Metric]:
    parts = overview.read_parts(session)
    running = dict.fromkeys(_COUNTED_PARTS, 0)
    for part in parts.running:
        running[part.part] = running.get(part.part, 0) + 1
    yield _gauge("nightdraft_parts_seen", "Processes seen lately, by part", "part", running)
    yield _gauge(
        "nightdraft_heartbeat_age_seconds",
        "Since the newest heartbeat of a part; a part without one is left out",
        "part",
        heartbeats.newest_ages(session),
    )
    yield from _from_draft_workers(parts.running)
    alarms = GaugeMetricFamily(
        "nightdraft_alarms_open", "Open alarms, by kind and part", labels=["kind", "part"]
    )
    for alarm in parts.alarms:
        alarms.add_metric([alarm.kind, alarm.part], 1)
    yield alarms
    yield _gauge(
        "nightdraft_alarm_messages_unsent",
        "Messages about alarms that wait to be sent, by channel",
        "channel",
        troubles.count_unsent(session),
    )


def _from_night(session: Session, settings: Settings) -> Iterator[Metric]:
    """The promise for the night; the time of its end is left out where none can be promised."""
    found = tonight.read_tonight_now(session, settings)
    yield GaugeMetricFamily(
        "nightdraft_night_ends_timestamp_seconds",
        "When the night ends that it is, or the next one",
        value=found.night.ends_at.timestamp(),
    )
    if found.done_at is not None:
        yield GaugeMetricFamily(
            "nightdraft_night_done_timestamp_seconds",
            "When all that is to do is drafted, at the measured pace",
            value=found.done_at.timestamp(),
        )
    yield GaugeMetricFamily(
        "nightdraft_night_late",
        "1 where not all will be drafted by the end of the night",
        value=float(found.is_promise_broken),
    )
    yield _gauge(
        "nightdraft_stage_to_do",
        "Studies that are still to go through a stage",
        "stage",
        {stage.stage.value: stage.to_do for stage in found.stages},
    )
    yield _gauge(
        "nightdraft_stage_per_minute",
        "Studies that went through a stage a minute, lately",
        "stage",
        {stage.stage.value: stage.per_minute for stage in found.stages},
    )


def _from_campaigns(session: Session) -> Iterator[Metric]:
    """Numbers of the running campaigns. A campaign's name may say more than a label should."""
    running = campaigns.list_running(session)
    counts = counting.read_counts(session, [campaign.id for campaign in running])
    studies = GaugeMetricFamily(
        "nightdraft_campaign_studies",
        "Studies of running campaigns, by state",
        labels=["campaign", "state"],
    )
    is_open = GaugeMetricFamily(
        "nightdraft_campaign_open",
        "1 where the window of a running campaign is open",
        labels=["campaign"],
    )
    is_stalled = GaugeMetricFamily(
        "nightdraft_campaign_stalled",
        "1 where a fault of a system keeps a running campaign from going on",
        labels=["campaign"],
    )
    promised = [
        GaugeMetricFamily(name, sentence, labels=["campaign"])
        for name, sentence in (
            (
                "nightdraft_campaign_done_timestamp_seconds",
                "When a running campaign is done, at the present pace",
            ),
            (
                "nightdraft_campaign_nights_left",
                "In how many nights a running campaign is done, at the present pace",
            ),
            (
                "nightdraft_campaign_left_at_end",
                "Studies of a running campaign that are left when its window closes for the night",
            ),
        )
    ]
    # Where no time can be promised there is no number.
    for one in progress.read_progress(session, running[: tonight.PROMISED]):
        done = one.done_at.timestamp() if one.done_at else None
        for family, value in zip(promised, (done, one.nights_left, one.left_at_end), strict=True):
            if value is not None:
                family.add_metric([str(one.campaign.id)], value)
    for campaign in running:
        name = str(campaign.id)
        for state, number in counts[campaign.id].by_state.items():
            studies.add_metric([name, state], number)
        is_open.add_metric([name], campaign.is_open)
        is_stalled.add_metric([name], bool(campaign.stalled_reason))
    yield from (studies, is_open, is_stalled, *promised)


def _from_callers(session: Session) -> Iterator[Metric]:
    yield _gauge(
        "nightdraft_last_film_seconds",
        f"Since a calling AE title sent its last film; the latest {callers.MAX_CALLERS} titles",
        "caller",
        callers.seconds_since_last_film(session),
    )


def _from_certificates(session: Session) -> Iterator[Metric]:
    family = GaugeMetricFamily(
        "nightdraft_certificate_days_left",
        "Days until a certificate ends that a running part shows to others; negative afterwards",
        labels=["purpose", "host"],
    )
    for one in certificates.list_shown(session):
        family.add_metric([one.purpose, one.host], one.days_left)
    yield family


_DRAFT_FAMILIES = {
    "slots": ("nightdraft_draft_slots", "Studies that the worker writes at the same time"),
    "busy": ("nightdraft_draft_busy", "Share of time in which the device computed, lately"),
    "occupancy": ("nightdraft_draft_occupancy", "Share of slot-steps that wrote a token, lately"),
    "studies_per_second": ("nightdraft_draft_studies_per_second", "Studies drafted, lately"),
    "tokens_per_second": ("nightdraft_draft_tokens_per_second", "Tokens written, lately"),
    "reruns": ("nightdraft_draft_reruns", "Studies run again in float32 since the worker began"),
}
"""A draft worker's facts and their families. "Lately" is since its last heartbeat."""


def _from_scrub(stored: ScrubState) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "nightdraft_damaged_files", "Stored files that are gone or changed", value=stored.damaged
    )
    for name, description, at in (
        ("nightdraft_scrub_read", "When a stored file was last read again", stored.read_at),
        ("nightdraft_scrub_round", "When all files had been read again", stored.round_ended_at),
    ):
        if at is not None:
            yield GaugeMetricFamily(f"{name}_timestamp_seconds", description, value=at.timestamp())


def _from_draft_workers(running: Iterable[Heartbeat]) -> Iterator[Metric]:
    for fact, (name, description) in _DRAFT_FAMILIES.items():
        family = GaugeMetricFamily(name, description, labels=["worker"])
        for part in running:
            if part.part == "draft" and isinstance(part.facts.get(fact), int | float):
                family.add_metric([part.owner], part.facts[fact])
        yield family


_NAMING_LABELS = frozenset({"worker", "caller", "host"})
"""Labels whose values are names of machines or devices. An alarm's part may have one in it, too."""


def _without_names(family: Metric) -> Iterator[Metric]:
    """The family without names of machines; none where its samples differ in nothing else."""
    if any(_NAMING_LABELS & sample.labels.keys() for sample in family.samples):
        return
    if family.name == "nightdraft_alarms_open":
        counts = Counter(sample.labels["kind"] for sample in family.samples)
        family = GaugeMetricFamily(family.name, family.documentation, labels=["kind", "part"])
        for kind, count in counts.items():
            family.add_metric([kind, ""], count)
    yield family


def _gauge(
    name: str, description: str, label: str, numbers: Mapping[str, float]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, description, labels=[label])
    for value, number in numbers.items():
        family.add_metric([value], number)
    return family


def _counter(
    name: str, description: str, label: str, numbers: Mapping[str, float]
) -> CounterMetricFamily:
    family = CounterMetricFamily(name, description, labels=[label])
    for value, number in sorted(numbers.items()):
        family.add_metric([value], number)
    return family

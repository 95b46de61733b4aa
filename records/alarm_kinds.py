"""The kinds of alarms, and what a person on call does about each, as data."""

from __future__ import annotations

from enum import StrEnum


class AlarmKind(StrEnum):
    """What an alarm is about. Each kind has its heading in docs/operate/runbook.md."""

    DISK_FULL = "DISK_FULL"
    WORKER_STOPPED = "WORKER_STOPPED"
    BUNDLE_UNUSABLE = "BUNDLE_UNUSABLE"
    PART_MISSING = "PART_MISSING"
    PART_CRASHING = "PART_CRASHING"
    STATION_WAITS = "STATION_WAITS"
    REDIS_DOWN = "REDIS_DOWN"
    FILES_DAMAGED = "FILES_DAMAGED"
    FILES_UNREGISTERED = "FILES_UNREGISTERED"
    FILES_SET_ASIDE = "FILES_SET_ASIDE"
    FILMS_UNLIKE = "FILMS_UNLIKE"
    MESSAGES_FAIL = "MESSAGES_FAIL"
    WORKLIST_AWAY = "WORKLIST_AWAY"
    REPORT_SERVER_AWAY = "REPORT_SERVER_AWAY"
    MESSAGES_REFUSED = "MESSAGES_REFUSED"
    PACS_AWAY = "PACS_AWAY"
    NIGHT_LATE = "NIGHT_LATE"
    AUDIT_AWAY = "AUDIT_AWAY"
    TRAIL_UNSEALED = "TRAIL_UNSEALED"
    CERTIFICATE_ENDS = "CERTIFICATE_ENDS"
    MODEL_STOPPED = "MODEL_STOPPED"
    QUALITY_DRIFT = "QUALITY_DRIFT"


ALARM_TITLES: dict[AlarmKind, str] = {
    AlarmKind.DISK_FULL: "The disk is full",
    AlarmKind.WORKER_STOPPED: "A worker stopped itself",
    AlarmKind.BUNDLE_UNUSABLE: "The model's bundle cannot be used",
    AlarmKind.PART_MISSING: "A part is not running",
    AlarmKind.PART_CRASHING: "A part ends again and again",
    AlarmKind.STATION_WAITS: "The station waits",
    AlarmKind.REDIS_DOWN: "Redis does not answer",
    AlarmKind.FILES_DAMAGED: "Stored films are damaged",
    AlarmKind.FILES_UNREGISTERED: "Many image files have no row",
    AlarmKind.FILES_SET_ASIDE: "Image files lie in lost+found",
    AlarmKind.FILMS_UNLIKE: "A sender's films look unlike those before",
    AlarmKind.MESSAGES_FAIL: "Messages about alarms cannot be sent",
    AlarmKind.WORKLIST_AWAY: "The modality worklist cannot be asked",
    AlarmKind.REPORT_SERVER_AWAY: "The server of earlier reports cannot be asked",
    AlarmKind.MESSAGES_REFUSED: "Many messages of one sender are refused",
    AlarmKind.PACS_AWAY: "A PACS cannot be asked",
    AlarmKind.NIGHT_LATE: "The night is too short for what is to be drafted",
    AlarmKind.AUDIT_AWAY: "The audit server does not take the trail",
    AlarmKind.TRAIL_UNSEALED: "The trail is not sealed",
    AlarmKind.CERTIFICATE_ENDS: "A certificate of ours ends or cannot be renewed",
    AlarmKind.MODEL_STOPPED: "A person stopped a model",
    AlarmKind.QUALITY_DRIFT: "Readers change or reject another share of drafts than before",
}
"""Each kind in a few words, for a subject line."""

ALARM_REMEDIES: dict[AlarmKind, str] = {
    AlarmKind.DISK_FULL: "Make room on the data folder's disk; receiving goes on by itself.",
    AlarmKind.WORKER_STOPPED: (
        "Mend what the last error names, then `nightdraft resume` lets the worker go on at once."
    ),
    AlarmKind.BUNDLE_UNUSABLE: (
        "Copy the bundle again or correct NIGHTDRAFT_BUNDLE; the worker tries it again by itself."
    ),
    AlarmKind.PART_MISSING: (
        "Start the part, or read its log if it was started; `nightdraft doctor` says what it lacks."
    ),
    AlarmKind.PART_CRASHING: (
        "Read the last lines of the part's log; `nightdraft doctor` says what to mend."
    ),
    AlarmKind.STATION_WAITS: (
        "See why it does not answer or start; the station tries again and goes on by itself."
    ),
    AlarmKind.REDIS_DOWN: (
        "Start Redis or correct NIGHTDRAFT_REDIS_URL; no work is lost, and it goes on by itself."
    ),
    AlarmKind.FILES_DAMAGED: (
        "`nightdraft blobs damaged` lists them. Send the films again or restore the files from a "
        "backup, and check the disk."
    ),
    AlarmKind.FILES_UNREGISTERED: (
        "If the database was restored from a backup, `nightdraft blobs orphans --register` gives "
        "the files their rows back. If not, check that NIGHTDRAFT_DATA_DIR and "
        "NIGHTDRAFT_DATABASE_URL belong together."
    ),
    AlarmKind.FILES_SET_ASIDE: (
        "`nightdraft blobs orphans` lists them. Look at them, then register or move them."
    ),
    AlarmKind.FILMS_UNLIKE: (
        "Look at some of these films and their drafts; `nightdraft calibrate` makes new thresholds "
        "from signed reports."
    ),
    AlarmKind.MESSAGES_FAIL: (
        "Correct the settings of the webhook or mail server; `nightdraft alarms test` tries them."
    ),
    AlarmKind.WORKLIST_AWAY: (
        "Start the worklist, or correct NIGHTDRAFT_WORKLIST_HOST and its AE titles; questions wait "
        "and go on by themselves, and studies are drafted without."
    ),
    AlarmKind.REPORT_SERVER_AWAY: (
        "Start the FHIR server, or correct NIGHTDRAFT_REPORTS_URL and our login there; questions "
        "wait and go on by themselves, and studies are drafted without."
    ),
    AlarmKind.MESSAGES_REFUSED: (
        "Open one of them on the page Messages (`nightdraft messages list --open`), let the sender "
        "or the mapping be corrected, let them be sent again, and settle those that will not be."
    ),
    AlarmKind.PACS_AWAY: (
        "Start the PACS, or correct its table in NIGHTDRAFT_PACS_FILE; its campaigns wait and go "
        "on by themselves, and no study is lost from them."
    ),
    AlarmKind.NIGHT_LATE: (
        "The page Tonight (`nightdraft night tonight`) shows the pace of each stage and worker. "
        "Start more draft workers, or let less urgent studies wait; what is not drafted tonight "
        "goes on by itself."
    ),
    AlarmKind.AUDIT_AWAY: (
        "Start the audit server, or correct NIGHTDRAFT_TRAIL_SERVER and its certificates; what "
        "waits stays in the trail and is sent by itself."
    ),
    AlarmKind.TRAIL_UNSEALED: (
        "Mend what the alarm names, as a key file that is gone; sealing goes on by itself. Where "
        "it names seals that do not go on, run `nightdraft trail verify`."
    ),
    AlarmKind.CERTIFICATE_ENDS: (
        "Write a new certificate and its key over the old files; they are read again by "
        "themselves, and the alarm closes. `nightdraft doctor` names the files."
    ),
    AlarmKind.MODEL_STOPPED: (
        "The page Models says who stopped it and why, and lists its drafts. Studies wait until the "
        "stop is lifted (`nightdraft model lift`) or a worker drafts with another bundle."
    ),
    AlarmKind.QUALITY_DRIFT: (
        "Read some of these drafts beside their signed reports, and ask what has changed: films, "
        "patients, orders, or how people read. The page Quality shows the line; `nightdraft model "
        "stop` stops the model. The alarm closes by itself after a day inside the interval."
    ),
}
"""What a person does about each kind, where whoever opens the alarm says nothing else."""


class Channel(StrEnum):
    """A way by which messages about alarms and nights are pushed."""

    WEBHOOK = "WEBHOOK"
    EMAIL = "EMAIL"


class MessageEvent(StrEnum):
    """What a message says."""

    START = "START"  # a trouble began
    END = "END"  # a trouble is over
    SUMMARY = "SUMMARY"  # what became of a night

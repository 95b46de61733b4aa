"""The Celery app and its settings, each with its reason.

PostgreSQL is the record and Redis is the bell (docs/develop/decisions/001): a message names a
request and nothing else. So every setting here prefers a lost bell, which the next sweep rings
again, to a bell that is kept, redelivered or looped.
"""

from __future__ import annotations

import logging
from typing import Any

from celery import Celery, signals

from records.broker import celery_url, transport_options
from records.database.session import forget_engine
from records.settings import settings
from records.tracing import flush

QUEUES = ("sweep", "prepare", "draft")


def configuration() -> dict[str, Any]:
    """Celery's settings as data. Celery calls this at first use, so importing reads no environment.

    Raises:
        SettingsError: the address of Redis is not known.
    """
    config = settings()
    return {
        # ---- What is in a message ----
        # JSON only: a pickle in Redis would be code from whoever can write there.
        "task_serializer": "json",
        "accept_content": ["json"],
        "result_accept_content": ["json"],
        # Results and errors are rows; a result backend would keep copies of them in Redis.
        "result_backend": None,
        "task_ignore_result": True,
        "task_store_errors_even_if_ignored": False,
        # ---- Delivery: at most once, and the sweep rings again ----
        "broker_url": celery_url(config.address("redis_url")),
        # A bell is gone once it is received. acks_late with reject_on_worker_lost ran a poison task
        # seven times in eight seconds; attempts are counted in Postgres instead.
        "task_acks_late": False,
        "task_reject_on_worker_lost": False,
        "broker_transport_options": {
            # No list of unacknowledged bells in Redis: so there is no visibility timeout to be
            # shorter than a task, and nothing to be restored twice after a kill -9.
            "ack_emulation": False,
            # A Redis that hangs is a Redis that is down.
            **transport_options(),
        },
        # One bell at a time: a bell that a busy process holds wakes no other process.
        "worker_prefetch_multiplier": 1,
        # Whoever rings learns at once that Redis is down, and leaves it to the next sweep.
        "task_publish_retry": False,
        "broker_connection_timeout": 5,
        # A worker outlives Redis, however long that is away, and may start before it.
        "broker_connection_retry": True,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        # Work goes on while Redis is away: its lease is in Postgres.
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        # ---- Queues ----
        # A worker serves the one queue of its part; nothing falls into a default queue unseen.
        "task_create_missing_queues": True,
        "task_default_queue": "unheard",
        "task_routes": {name: {"queue": name} for name in QUEUES},
        # ---- The sweep's clock ----
        "beat_schedule": {
            "sweep": {
                "task": "sweep",
                "schedule": config.sweep_seconds,
                # Sweeps that nobody received do not pile up: an old one is worth nothing.
                "options": {"queue": "sweep", "expires": max(10.0, 2 * config.sweep_seconds)},
            }
        },
        # One entry, always due: nothing to remember, so no file that a kill could damage.
        "beat_scheduler": "celery.beat:Scheduler",
        "timezone": "UTC",
        # ---- The process ----
        # A replaced child that needs longer than this to come up is killed, for ever (4 s by
        # default): on a busy machine importing alone can take longer.
        "worker_proc_alive_timeout": 600,
        # Heartbeats, alarms and counts are rows. Events and remote control would only load Redis,
        # and their broadcast is what breaks first when it restarts.
        "worker_send_task_events": False,
        "task_send_sent_event": False,
        "worker_enable_remote_control": False,
        "worker_disable_rate_limits": True,
        # Logs are ours (records.telemetry, set up by the command): Celery's would print errors with
        # their values.
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
    }


app = Celery("nightdraft", include=["worker.tasks"], set_as_current=False)
app.add_defaults(configuration)


def _keep_our_logs(**_: Any) -> None:
    """Turn Celery's lines on each task off; a receiver of setup_logging keeps it from the rest."""
    logging.getLogger("celery").setLevel(logging.WARNING)


def _send_last_spans(**_: Any) -> None:
    flush()


def _drop_connections(**_: Any) -> None:
    """Drop the parent's database connections after a fork: they are not ours."""
    forget_engine()


signals.setup_logging.connect(_keep_our_logs, weak=False)
signals.worker_process_init.connect(_drop_connections, weak=False)
signals.worker_process_shutdown.connect(_send_last_spans, weak=False)

"""What the parts may do at Redis: the commands that they use, on the keys of their queues.

A test compares them with what Celery sends, and the embedded station runs under them.
"""

from __future__ import annotations

COMMANDS = (
    # A connection and its checks.
    *("auth", "hello", "ping", "select", "client|setinfo", "client|setname", "info"),
    # A queue is a list; what is bound to an exchange is a set.
    *("lpush", "brpop", "llen", "sadd"),
    # Celery sends some of these together.
    *("multi", "exec"),
)
"""In small letters; a subcommand follows after a bar."""

KEYS = ("sweep*", "prepare*", "draft*", "unheard*", "_kombu.binding*")
"""Patterns of the keys: Celery's queues, with a suffix for each priority, and its bindings."""


_SINCE_7_2 = "client|setinfo"
"""Redis 7.0 refuses rules that name it. A client goes on where this command is refused."""


def acl_rules(*, oldest: bool = False) -> str:
    """The rules of a user of Redis or Valkey (ACL SETUSER), all but its name and password.

    Args:
        oldest: for a Redis that is older than 7.2.
    """
    keys = " ".join(f"~{pattern}" for pattern in KEYS)
    commands = " ".join(f"+{name}" for name in COMMANDS if not oldest or name != _SINCE_7_2)
    return f"resetkeys {keys} resetchannels -@all {commands}"

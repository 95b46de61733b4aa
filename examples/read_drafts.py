"""Read the draft of a study by REST, as soon as there is one.

    python examples/read_drafts.py STUDY_INSTANCE_UID [--url http://127.0.0.1:8080] [--wait 300]

Prints the draft under its warning, or the reason why there is none. What is printed is a draft: it
was written by a model, nobody has checked it, and it must not be used before a radiologist has.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import quote

ENDED = ("DRAFTED", "FAILED", "SKIPPED", "CANCELLED")
"""States that do not lead on by themselves; HELD waits for a person's decision."""


def request_for(call: str) -> urllib.request.Request:
    """Return a request, with the token of the environment where there is one."""
    token = os.environ.get("API_TOKEN", "")
    return urllib.request.Request(
        call, headers={"Authorization": f"Bearer {token}"} if token else {}
    )


def read_study(url: str, study_instance_uid: str) -> dict[str, Any] | None:
    """Return what is known of the study, or None where no such study has arrived yet."""
    call = f"{url}/api/studies/{quote(study_instance_uid)}"
    try:
        with urllib.request.urlopen(request_for(call), timeout=10) as answer:
            detail: dict[str, Any] = json.load(answer)
            return detail
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return None
        problem = json.load(error)  # application/problem+json, RFC 9457
        raise SystemExit(f"{problem['title']}: {problem.get('detail', '')}") from error


def has_ended(detail: dict[str, Any] | None) -> bool:
    """Return whether the study is there and its state does not lead on by itself."""
    return detail is not None and detail["study"]["state"] in ENDED


def why_not_shown(detail: dict[str, Any]) -> str:
    """Return why a study is DRAFTED and none of its drafts is shown."""
    if detail["draft_hidden"]:
        return "You read the films first: open them, and ask for the draft on the study's page."
    reasons = sorted({withheld["why"] for withheld in detail["withheld"]})
    return f"It is withheld from everybody: {', '.join(reasons)} (see /models)."


def main() -> int:
    """Wait for the study's end, print what came of it, and return the exit status."""
    parser = argparse.ArgumentParser(description="Read the draft of a study by REST.")
    parser.add_argument("study_instance_uid")
    parser.add_argument("--url", default="http://127.0.0.1:8080")
    parser.add_argument("--wait", type=float, default=300.0, help="seconds, at most")
    options = parser.parse_args()

    give_up = time.monotonic() + options.wait
    detail = read_study(options.url, options.study_instance_uid)
    while not has_ended(detail) and time.monotonic() < give_up:
        time.sleep(1)
        detail = read_study(options.url, options.study_instance_uid)
    if detail is None:
        print("No such study has arrived.")
        return 1
    study = detail["study"]
    if study["state"] != "DRAFTED":
        print(f"There is no draft: the study is {study['state']}. {study['detail']}")
        return 1
    # Superseded drafts are kept too; one at most is current.
    draft = next((draft for draft in detail["drafts"] if draft["current"]), None)
    if draft is None:
        print(f"The draft is not shown. {why_not_shown(detail)}")
        return 1
    print(draft["text"])
    print(f"\nWritten by {draft['model_name']} {draft['model_version']}, status {draft['status']}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())

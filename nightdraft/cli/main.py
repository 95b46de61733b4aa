"""The command `nightdraft`: joins the commands of all modules, and answers errors in one line."""

from __future__ import annotations

import os
import resource
import sys
import traceback

# These modules add their commands to `app`.
import nightdraft.cli.backups
import nightdraft.cli.install
import nightdraft.cli.models
import nightdraft.cli.operate
import nightdraft.cli.order_mapping
import nightdraft.cli.phantoms
import nightdraft.cli.quality
import nightdraft.cli.send
import nightdraft.cli.support
import nightdraft.cli.worklist  # noqa: F401
from nightdraft.cli.accounts import accounts
from nightdraft.cli.alarms import alarms
from nightdraft.cli.benchmarks import bench
from nightdraft.cli.blobs import blobs
from nightdraft.cli.bundles import bundle
from nightdraft.cli.campaigns import campaign
from nightdraft.cli.comparisons import comparisons
from nightdraft.cli.corpora import corpus
from nightdraft.cli.discrepancies import discrepancies
from nightdraft.cli.messages import messages
from nightdraft.cli.models_in_use import model
from nightdraft.cli.nights import night
from nightdraft.cli.options import app
from nightdraft.cli.orders import orders
from nightdraft.cli.parts import work
from nightdraft.cli.patients import patients
from nightdraft.cli.report_styles import report_styles
from nightdraft.cli.reports import reports
from nightdraft.cli.retention import retention
from nightdraft.cli.settings import settings_commands
from nightdraft.cli.sites import sites
from nightdraft.cli.tokens import tokens
from nightdraft.cli.trail import trail
from nightdraft.cli.train import train
from records.errors import is_safe_to_show, safe_text
from records.telemetry import is_logging_json, logger
from records.tracing import flush

for name, group in (
    ("work", work),
    ("account", accounts),
    ("site", sites),
    ("token", tokens),
    ("alarms", alarms),
    ("settings", settings_commands),
    ("messages", messages),
    ("night", night),
    ("blobs", blobs),
    ("retention", retention),
    ("orders", orders),
    ("patients", patients),
    ("reports", reports),
    ("report-styles", report_styles),
    ("campaign", campaign),
    ("discrepancies", discrepancies),
    ("comparisons", comparisons),
    ("model", model),
    ("trail", trail),
    ("corpus", corpus),
    ("train", train),
    ("bundle", bundle),
    ("bench", bench),
):
    app.add_typer(group, name=name)


def main() -> None:
    """Run the command; an error is one line on standard error and exit status 1.

    The line of a part that logs JSON is JSON, too.
    """
    debug = "--debug" in sys.argv or os.environ.get("NIGHTDRAFT_DEBUG")
    # A core dump would hold the memory of a part, and so patients. Its children inherit the limit.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        app()
    except Exception as error:
        if debug:
            traceback.print_exception(error)
            sys.exit(1)
        sentence = safe_text(error)
        if not is_safe_to_show(error):
            sentence = f"unexpected: {sentence}; `nightdraft --debug ...` shows the traceback"
        sentence = " ".join(sentence.split())
        if is_logging_json():
            logger().critical(sentence)
        else:
            print(f"nightdraft: {sentence}", file=sys.stderr)
        sys.exit(1)
    finally:
        flush()

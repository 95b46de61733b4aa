"""The checks of `nightdraft doctor` and of a part's health: what is wrong, and what to do."""

from nightdraft.doctor.results import CheckResult, readiness, render_results
from nightdraft.doctor.running import list_checks, run_checks

__all__ = ["CheckResult", "list_checks", "readiness", "render_results", "run_checks"]

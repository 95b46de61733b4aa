"""The paper's own priors, read out of the report that is to be written. For evaluation alone.

IU X-ray's "problems" were coded from the report and MIMIC-CXR's "symptoms" are CheXbert's labels
of it, so a draft that is given them copies its answer. They repeat the paper's figures; no part
that serves may import this module (an import contract in pyproject.toml says so).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from model.case import Case
from model.errors import TemplateError
from model.prompting.prompt import Fits, Source, Symptoms, describe, fill, listed, named


@dataclass(frozen=True, slots=True)
class Oracle:
    """What the paper's templates are told of the report.

    problems: IU X-ray's, as coded ("normal" where there is none). image: the data set's own words
    for the films; "" takes ours. symptoms: CheXbert's labels, for MIMIC-CXR.
    """

    problems: tuple[str, ...] = ()
    image: str = ""
    symptoms: Symptoms = field(default_factory=Symptoms)


def instruct_from_report(
    case: Case, oracle: Oracle, template: str, fits: Fits | None = None
) -> str:
    """The paper's instruction, `oracle_iu` or `oracle_mimic`; the indication is the case's own.

    Raises:
        TemplateError: it is not a template of the paper's.
    """
    known = named(template)
    if known.source is not Source.REPORT:
        raise TemplateError(f"the template {template!r} takes nothing from the report")
    said = {
        "problems": ", ".join(oracle.problems),
        "image": oracle.image or describe(view.position for view in case.views),
        "indication": case.priors.indication,
    }
    return fill(known, said | listed(oracle.symptoms), fits)

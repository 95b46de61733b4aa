"""The paper's own priors, which come from the report that is to be written: for evaluation alone.

IU X-ray's "problems" were coded from the report, and MIMIC-CXR's "symptoms" are CheXbert's labels
of it, so a draft that reads them copies its answer. They serve to repeat the paper's figures. No
part that serves readers may import this module (an import contract in pyproject.toml).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from model.case import Case
from model.errors import TemplateError
from model.prompting.prompt import (
    Fits,
    PriorSource,
    Symptoms,
    describe_views,
    fill_template,
    format_symptoms,
    get_template,
)


@dataclass(frozen=True, slots=True)
class Oracle:
    """The priors of the paper's templates.

    Attributes:
        problems: IU X-ray's problems as coded ("normal" where there is none).
        image: The data set's own description of the images; "" takes ours.
        symptoms: CheXbert's labels, for MIMIC-CXR.
    """

    problems: tuple[str, ...] = ()
    image: str = ""
    symptoms: Symptoms = field(default_factory=Symptoms)


def build_oracle_instruction(
    case: Case, oracle: Oracle, template: str, fits: Fits | None = None
) -> str:
    """Return the paper's instruction; the indication is the case's own.

    Args:
        case: The case.
        oracle: The priors from its report.
        template: `oracle_iu` or `oracle_mimic`.
        fits: As in `fill_template`.

    Raises:
        TemplateError: It is not one of the paper's templates.
    """
    chosen = get_template(template)
    if chosen.source is not PriorSource.REPORT:
        raise TemplateError(f"the template {template!r} takes nothing from the report")
    priors = {
        "problems": ", ".join(oracle.problems),
        "image": oracle.image or describe_views(view.position for view in case.views),
        "indication": case.priors.indication,
    }
    return fill_template(chosen, priors | format_symptoms(oracle.symptoms), fits)

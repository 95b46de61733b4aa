"""The versions of FHIR that are read, and the check of a resource by the models of its version.

`fhir.resources` has models of R4B and R5. R4's resources that are read here are equal to R4B's, and
they fail R5's. The models are imported at first use: they take a second and 20 MB.
"""

from __future__ import annotations

import re
from enum import StrEnum
from functools import lru_cache
from typing import Any

from records.fhir.elements import Json, ResourceError, check_strings


class FhirVersion(StrEnum):
    """A version, as the parameter `fhirVersion` of a media type names it."""

    R4 = "4.0"
    R4B = "4.3"
    R5 = "5.0"


_MISTAKES = 10
"""Mistakes of one resource that are named."""


_LONGEST_NAME = 64
"""Letters of an element's name that are sent back; no element of FHIR has more."""


class InvalidResource(ResourceError):
    """A resource is not one of its version: an element is wrong, missing or unknown.

    Attributes:
        mistakes: what is wrong and where, (sentence, FHIRPath, code of issue-type).
    """

    def __init__(self, mistakes: list[tuple[str, str, str]]) -> None:
        sentence, expression, code = mistakes[0]
        super().__init__(sentence, expression, code)
        self.mistakes = mistakes


def check(resource: Json, version: FhirVersion) -> None:
    """Check a resource by the model of its type: known elements, types of values, cardinality.

    Raises:
        ResourceError: it has no type, or cannot be kept.
        InvalidResource: it is not valid, with what is wrong. No value is quoted.
    """
    from pydantic import ValidationError

    name = resource.get("resourceType")
    if not (isinstance(name, str) and re.fullmatch(r"[A-Z][A-Za-z]{1,60}", name)):
        raise ResourceError("the resource has no resourceType", "resourceType", "structure")
    check_strings(resource, name)
    model = _model(name, version)
    if model is None:
        raise ResourceError(f"FHIR {version.name} has no {name}", "resourceType", "not-supported")
    try:
        model.model_validate(resource)
    except ValidationError as error:
        raise InvalidResource(
            [_mistake(name, dict(entry)) for entry in error.errors(include_input=False)[:_MISTAKES]]
        ) from None
    except RecursionError:
        raise ResourceError("the resource is nested too deep", name, "too-long") from None
    except (LookupError, TypeError, AttributeError):
        # The models do not foresee a resource of another type within one.
        raise ResourceError(
            f"a resource within it has a type that FHIR {version.name} does not know",
            name,
            "structure",
        ) from None


@lru_cache(maxsize=64)
def _model(name: str, version: FhirVersion) -> Any:
    if version is FhirVersion.R5:
        from fhir.resources import get_fhir_model_class
    else:
        from fhir.resources.R4B import get_fhir_model_class
    try:
        return get_fhir_model_class(name)
    except (LookupError, ImportError, AttributeError, ValueError):
        return None


def _mistake(name: str, entry: dict[str, Any]) -> tuple[str, str, str]:
    path = name
    for step in entry["loc"]:
        if isinstance(step, int):
            path += f"[{step}]"
        elif step.isidentifier() and len(step) <= _LONGEST_NAME:
            path += f".{step}"
    kind = str(entry["type"])
    if kind == "extra_forbidden":
        return "the element is not known in this version of FHIR", path, "structure"
    if kind == "missing" or "required" in str(entry["msg"]).lower():
        return "the element is missing", path, "required"
    # Messages of the models' own checks may quote a value.
    sentence = "the value is not valid" if "value_error" in kind else str(entry["msg"])
    return sentence, path, "value"

"""Reads the forms that pages post, and checks them as REST checks a body."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar
from urllib.parse import parse_qsl

from fastapi import Depends, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationError
from pydantic_core.core_schema import CoreSchema, no_info_before_validator_function

from api.access.cookies import FORM_FIELD

MAX_FIELDS = 151
"""Fields of a posted form. The longest that is needed is a decision on all holds of a page."""


class _NoneIfEmpty:
    """Takes an empty text for none, and says so in the schema."""

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return no_info_before_validator_function(lambda value: value or None, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        described = handler(schema)
        if "anyOf" in described:
            described["anyOf"].append({"type": "string", "maxLength": 0})
        return described


NONE_IF_EMPTY = _NoneIfEmpty()
"""For a query parameter: a field of a form that was left empty is none."""


async def _form_fields(request: Request) -> list[tuple[str, str]]:
    """The names and values of a posted form (application/x-www-form-urlencoded)."""
    body = await request.body()
    try:
        fields = parse_qsl(body.decode("utf-8", "replace"), max_num_fields=MAX_FIELDS)
    except ValueError:
        raise HTTPException(413, f"The form has more than {MAX_FIELDS} fields.") from None
    return [(name, value) for name, value in fields if name != FORM_FIELD]


FormFields = Annotated[list[tuple[str, str]], Depends(_form_fields)]


_Form = TypeVar("_Form", bound=BaseModel)


def validate_form(model: type[_Form], values: dict[str, Any]) -> _Form:
    """What a form says, checked as REST checks it.

    Raises:
        RequestValidationError: it is not valid.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise RequestValidationError(error.errors(include_url=False)) from None

"""Request bodies of the API: JSON in UTF-8, parsed strictly; errors contain the reason."""

import json
from typing import Any

from django.http import HttpRequest
from ninja.parser import Parser
from pydantic import BaseModel, ConfigDict, model_validator

from lockngen.web.problems import LONGEST_FIELD, MOST_ERRORS, Problem, invalid

SEND_JSON = "Send JSON in UTF-8, with 'Content-Type: application/json'."


class JSONParser(Parser):
    """Parses JSON with any Content-Type, because curl sends another one by default."""

    def parse_body(self, request: HttpRequest) -> Any:
        body = request.body
        if len(body) != int(request.META.get("CONTENT_LENGTH") or 0):
            raise Problem(400, "The body is shorter than its Content-Length.")
        return parse(body, request.content_type)


def parse(body: bytes, content_type: str) -> Any:
    """The JSON of a body. Raises Problem."""
    try:
        return json.loads(body.decode("utf-8-sig"), object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise _unreadable(content_type, error) from None


class RequestBody(BaseModel):
    """A body without unknown fields: an unknown field is probably misspelt.

    It is no ninja.Schema, which hands the validators of a model an object instead of the fields.
    """

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _keep_a_few_unknown_fields(cls, values: Any) -> Any:
        """A body may have 100,000 unknown fields; an error for each would take seconds."""
        if not isinstance(values, dict) or len(values) <= len(cls.model_fields) + MOST_ERRORS:
            return values
        unknown = [name for name in values if name not in cls.model_fields][:MOST_ERRORS]
        return {name: values[name] for name in [*unknown, *cls.model_fields] if name in values}


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, value in pairs:
        if name in fields:
            raise Problem(400, f"The body has the field {_printable(name)!r} twice.")
        if not _is_text(name) or (isinstance(value, str) and not _is_text(value)):
            raise invalid(_printable(name), "it contains half of a surrogate pair, which is no character")
        fields[name] = value
    return fields


def _is_text(text: str) -> bool:
    """JSON can escape one half of a UTF-16 surrogate pair. A lone surrogate can't be encoded or stored."""
    try:
        return text.isascii() or bool(text.encode())
    except UnicodeEncodeError:
        return False


def _printable(name: str) -> str:
    return name.encode(errors="backslashreplace").decode()[:LONGEST_FIELD]


def _unreadable(declared: str, error: Exception) -> Problem:
    if declared and declared != "application/json" and not declared.endswith("+json"):
        return Problem(415, f"A body of this Content-Type can't be read. {SEND_JSON}")
    if isinstance(error, UnicodeDecodeError):
        return Problem(400, f"The body is not UTF-8: byte {error.start} is wrong. {SEND_JSON}")
    if isinstance(error, json.JSONDecodeError):
        where = f"line {error.lineno}, column {error.colno}"
        return Problem(400, f"The body is not valid JSON: {error.msg.removesuffix(' at')} at {where}.")
    return Problem(400, "The body is not valid JSON: it is nested too deeply, or a number in it is too long.")

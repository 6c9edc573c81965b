"""What is wrong with a field, in the visitor's language."""

from django.utils.translation import gettext_lazy as _
from pydantic_core import ErrorDetails

from generations.api.schemas import QUALITY_NEEDS_FORMAT, SEED_OUT_OF_RANGE

# By Pydantic's type of the error. Other types have messages of the schemas.
TEXTS = {
    "missing": _("This is required."),
    "string_too_long": _("At most %(max_length)s characters are possible."),
    "too_long": _("At most %(max_length)s are possible."),
    "int_type": _("This must be a whole number."),
    "float_type": _("This must be a number."),
    "finite_number": _("This must be a number."),
    "greater_than_equal": _("This must be at least %(ge)s."),
    "less_than_equal": _("This must be at most %(le)s."),
    "multiple_of": _("This must be a multiple of %(multiple_of)s."),
    SEED_OUT_OF_RANGE: _("This must be from 0 to %(largest)s, or empty for a random one."),
    QUALITY_NEEDS_FORMAT: _("A quality needs the format JPEG or WebP."),
}


def of(error: ErrorDetails) -> str:
    if error["type"] in TEXTS:
        return TEXTS[error["type"]] % error.get("ctx", {})
    return as_sentence(error["msg"].removeprefix("Value error, "))


def as_sentence(text: str) -> str:
    """The APIs name the field before the text."""
    return text[:1].upper() + text[1:].rstrip(".") + "."

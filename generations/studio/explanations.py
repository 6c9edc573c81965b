"""What is wrong with a field, and why a generation failed, in the visitor's language."""

import re

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

# Starts of stored errors that are translated. Texts of renderers are shown as they are.
REASONS = (
    (r"There is no such model any more\.", _("There is no such model any more.")),
    (r"Rendering took longer than (\S+) seconds\.", _("Rendering took longer than %s seconds.")),
    (
        r"The image waited in the renderer's queue for longer than (\S+) seconds\.",
        _("The image waited in the renderer's queue for longer than %s seconds."),
    ),
    (r"The image is larger than (\S+) MiB\.", _("The image is larger than %s MiB.")),
    (r"Rendering failed after (\d+) attempts\.", _("Rendering failed after %s attempts.")),
)
# What a visitor can do about an error, by the start of its message.
REMEDIES = (
    (r"There is no such model|The model .* can't be rendered", _("Choose another model, or ask an operator.")),
    (r"Rendering took|The image waited", _("Try fewer steps or a smaller size.")),
    (r"The image is larger", _("Choose a smaller size.")),
    (r"The renderer refused|The workflow", _("Change the prompt or its values. An operator can check the workflow.")),
    (r"Rendering failed after", _("The renderer has a problem. Try again later, or ask an operator.")),
)
OTHERWISE = _("Try again.")


def of(error: ErrorDetails) -> str:
    if error["type"] in TEXTS:
        return TEXTS[error["type"]] % error.get("ctx", {})
    return as_sentence(error["msg"].removeprefix("Value error, "))


def of_failure(message: str) -> tuple[str, str]:
    """The reason, and what to do."""
    remedy = next((text for start, text in REMEDIES if re.match(start, message)), OTHERWISE)
    for start, text in REASONS:
        if found := re.match(start, message):
            return text % found.groups() + message[found.end() :], remedy
    return message, remedy


def as_sentence(text: str) -> str:
    """The APIs name the field before the text."""
    return text[:1].upper() + text[1:].rstrip(".") + "."

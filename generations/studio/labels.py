"""Labels as text in a form's field: name=value, name=value."""

from pydantic import TypeAdapter, ValidationError

from generations.api.schemas import Labels
from generations.studio import explanations

_labels = TypeAdapter(Labels)


def parse(text: str) -> dict[str, str]:
    """The names and values of a text, unchecked."""
    pairs = [pair.partition("=") for pair in text.split(",") if pair.strip()]
    return {name.strip(): value.strip() for name, _, value in pairs}


def from_text(text: str) -> dict[str, str]:
    """The labels of a text. Raises ValueError with the reason."""
    try:
        return _labels.validate_python(parse(text))
    except ValidationError as error:
        raise ValueError(explanations.of(error.errors()[0])) from None


def as_text(labels: dict[str, str]) -> str:
    return ", ".join(f"{name}={value}" for name, value in labels.items())

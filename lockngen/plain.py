"""Text of other systems, made safe for a log, a terminal and a message. Standard library only."""

import unicodedata

# Categories: control, format (bidirectional marks), surrogate, private use; line and paragraph separators.
UNSAFE = {"C", "Zl", "Zp"}


def plain(text: object, longest: int = 1000) -> str:
    """The text on one line, without control characters and cut to `longest` characters."""
    cut = str(text)[: 4 * longest]
    safe = "".join(" " if _is_unsafe(character) else character for character in cut)
    return " ".join(safe.split())[:longest]


def one_line(error: BaseException) -> str:
    """The error's message, or its class if it has none."""
    return plain(error) or type(error).__name__


def plain_values(value: object, longest: int = 200) -> object:
    """The same for each text in a value of JSON."""
    if isinstance(value, dict):
        return {plain(key, longest): plain_values(item, longest) for key, item in value.items()}
    if isinstance(value, list):
        return [plain_values(item, longest) for item in value]
    return plain(value, longest) if isinstance(value, str) else value


def _is_unsafe(character: str) -> bool:
    category = unicodedata.category(character)
    return category[0] in UNSAFE or category in UNSAFE

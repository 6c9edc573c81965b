"""The options of a renderer's URL, such as `?seconds=3&fail=1`."""

import re
from collections.abc import Callable, Mapping
from math import inf
from typing import Any
from urllib.parse import parse_qsl

MAX_SECONDS = 3600
MAX_CONCURRENCY = 100


def read(query: str, parsers: Mapping[str, Callable[[str], Any]]) -> dict[str, Any]:
    """The values by name. Raises ValueError, whose message contains no value, as it may be secret."""
    options = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in parsers:
            raise ValueError(f"the option {name[:30]!r} is unknown; valid options: {', '.join(parsers)}.")
        if name in options:
            raise ValueError(f"the option {name} is set twice.")
        try:
            options[name] = parsers[name](value)
        except ValueError as error:
            raise ValueError(f"the option {name} must be {error}.") from None
    return options


# Each parses one value. The ValueError describes the valid values.


def flag(value: str) -> bool:
    if value not in ("0", "1"):
        raise ValueError("0 or 1")
    return value == "1"


def names(value: str) -> tuple[str, ...]:
    # A + of a query is a space. RENDERER_URL itself is a list separated by commas, so a comma has to be written as %2C.
    names = tuple(dict.fromkeys(re.split(r"[\s,]+", value.strip())))
    if not all(names):
        raise ValueError("one or more names, separated by +")
    return names


def _number(kind: type[int] | type[float], valid: str, least: float = 0, most: float = inf) -> Callable[[str], Any]:
    pattern = re.compile(r"\d{1,6}" if kind is int else r"\d{1,6}(\.\d+)?", re.ASCII)

    def parse(value: str) -> int | float:
        if not pattern.fullmatch(value) or not least <= kind(value) <= most:
            raise ValueError(valid)
        return kind(value)

    return parse


whole, number = _number(int, "a whole number"), _number(float, "a number")
seconds = _number(float, f"a number of seconds from 0 to {MAX_SECONDS}", most=MAX_SECONDS)
concurrency = _number(int, f"a whole number from 1 to {MAX_CONCURRENCY}", 1, MAX_CONCURRENCY)

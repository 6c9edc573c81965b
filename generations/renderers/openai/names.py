"""Names of models for clients, made of a server's ids, such as FLUX.1-schnell of black-forest-labs/FLUX.1-schnell."""

import re
from collections.abc import Collection, Iterable
from hashlib import sha256

from generations.renderers.base import DEFAULT_MODEL, MAX_MODEL_NAME
from generations.renderers.http.address import Location


def by_name(ids: Iterable[str]) -> dict[str, str]:
    """The ids by name: the last part, or the whole id where another has that part, or with a part of its hash."""
    named: dict[str, str] = {}
    for id in dict.fromkeys(ids):
        last, unique = id.rstrip("/").rpartition("/")[2], sha256(id.encode("utf-8", "replace")).hexdigest()[:6]
        names = [_name(last), _name(id), _name(f"{_name(last)[:26]}-{unique}")]
        if free := [name for name in names if name not in ("", DEFAULT_MODEL, *named)]:
            named[free[0]] = id
    return named


def chosen(wanted: Iterable[str], ids: Collection[str]) -> dict[str, str]:
    """The ids of the wanted models, each of which is given by its id or its name."""
    known = by_name(ids)
    return {name: each if each in ids else known.get(each, each) for name, each in by_name(wanted).items()}


def of_host(location: Location) -> str:
    """The name of the only model of a server that lists none."""
    return next(iter(by_name([location.place.partition("/")[0].rpartition(":")[0]])))


def _name(text: str) -> str:
    return re.sub(r"[^\w.-]+", "-", text.removesuffix(":latest"), flags=re.ASCII).strip("-")[:MAX_MODEL_NAME]

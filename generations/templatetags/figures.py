"""Figures for people, in templates and commands."""

from django import template
from django.template.defaultfilters import filesizeformat
from django.utils.formats import number_format
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

register = template.Library()

# Below how many seconds, seconds per unit, unit, digits.
UNITS = (
    (10, 1, "s", 1),
    (120, 1, "s", 0),
    (7200, 60, "min", 0),
    (172_800, 3600, "h", 0),
    (float("inf"), 86_400, gettext_noop("days"), 0),
)


@register.filter
def duration(seconds: float | None) -> str:
    """4.2 s, 75 s, 12 min, 5 h, 3 days."""
    if seconds is None:
        return "–"
    unit, name, digits = next(rest for limit, *rest in UNITS if seconds < limit)
    return f"{number_format(round(seconds / unit, digits), digits)} {_(name)}"


def size(bytes: int) -> str:
    """Django's filesizeformat with a plain space, for terminals."""
    return filesizeformat(bytes).replace("\xa0", " ")

"""Parts of the studio's forms."""

from django import template
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from generations.status import Status

register = template.Library()
STATUSES = {
    Status.PENDING: _("pending"),
    Status.PROCESSING: _("processing"),
    Status.COMPLETED: _("completed"),
    Status.FAILED: _("failed"),
    Status.CANCELLED: _("cancelled"),
}


@register.filter
def status_text(status: int) -> str:
    return STATUSES[status]


@register.simple_tag
def field_error(errors: dict[str, str], name: str) -> str:
    """What is wrong with a field, beside it."""
    return format_html('<span class="error" id="{}-error">{}</span>', name, errors.get(name, ""))


@register.simple_tag
def described(errors: dict[str, str], name: str) -> str:
    """The attributes of a field that refer to its error."""
    return format_html('aria-describedby="{}-error" aria-invalid="{}"', name, "true" if name in errors else "false")

"""Parts of the studio's pages."""

from urllib.parse import urljoin

from django import template
from django.templatetags.static import static
from django.utils.html import format_html, format_html_join
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
# What a page's module imports, also indirectly.
MODULES = {
    "studio": [
        *("keys", "forms", "prompt", "queue", "gallery", "justified"),
        *("selection", "lightbox", "bin", "calls", "clipboard", "zoom"),
    ],
    "operator": ["keys"],
}


@register.simple_tag
def preloads(page: str) -> str:
    """Links by which a browser requests the page's scripts at once, and not a module after the one that imports it."""
    htmx = format_html('<link rel="preload" as="script" href="{}">\n', static("django_htmx/htmx-2.min.js"))
    entry = static(f"studio/{page}.js")
    modules = ((urljoin(entry, f"{name}.js"),) for name in MODULES[page])
    return htmx + format_html_join("\n", '<link rel="modulepreload" href="{}">', modules)


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

from html import unescape

from apikeys import tokens
from apikeys.models import ApiKey

KEYS, EVENTS = "/admin/apikeys/apikey/", "/admin/apikeys/keyevent/"
ADD = KEYS + "add/"


def page_of(key: ApiKey) -> str:
    return f"{KEYS}{key.pk}/change/"


def text_of(response) -> str:
    return unescape(response.content.decode())


def tokens_in(response) -> list[str]:
    return [word for word in text_of(response).split('"') if tokens.is_valid(word)]


def filled_in(response) -> dict[str, str]:
    """The values that a browser submits if the form is left unchanged."""
    form = response.context["adminform"].form
    values = {name: form[name].value() for name in form.fields}
    return {name: value for name, value in values.items() if value is not None}


def events(key: ApiKey) -> list[tuple[str, str]]:
    return list(key.events.order_by("id").values_list("action", "actor"))

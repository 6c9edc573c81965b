"""The admin of keys: the list, a key's usage and the audit log."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from apikeys.audit import KeyEvent
from apikeys.rate_limit import usage
from apikeys.tests.support.admin import EVENTS, KEYS, page_of, text_of
from apikeys.tests.test_models import UNUSABLE

pytestmark = pytest.mark.django_db


def test_page__lists_events_newest_first(admin_client, key):
    key.change(name="<b>Ann</b>")
    key.revoke()

    page = admin_client.get(page_of(key)).content.decode()

    assert page.index("<td>Revoked</td>") < page.index("<td>Changed</td>")
    assert "Test → &lt;b&gt;Ann&lt;/b&gt;" in page


def test_page__charts_the_generations_by_day(admin_client, make_generation):
    key = make_generation().api_key
    make_generation()

    page = text_of(admin_client.get(page_of(key)))

    assert "2 generations in 30 days" in page
    assert page.count("<title>") == 1 + 30
    assert f"<title>{timezone.now():%-d %b}: 2</title>" in page


@pytest.mark.parametrize("state", ["active", *UNUSABLE])
def test_list__filtered_by_state(admin_client, make_key, state):
    keys = {name: make_key(**UNUSABLE.get(name, {})) for name in ("active", *UNUSABLE)}

    shown = admin_client.get(KEYS, {"state": state}).context["cl"].result_list

    assert list(shown) == [keys[state]]


def test_list__shows_the_usage_of_the_limit(admin_client, make_key, monkeypatch):
    make_key(rate_limit=60)
    monkeypatch.setattr(usage, "requests_last_minute", lambda keys: {})
    assert '<td class="field-limit">60</td>' in text_of(admin_client.get(KEYS))

    monkeypatch.setattr(usage, "requests_last_minute", lambda keys: {key.pk: 12 for key in keys})
    assert "12 of 60" in text_of(admin_client.get(KEYS))


@pytest.mark.parametrize(
    ("ago", "shown"), [(None, "never"), (timedelta(seconds=5), "just now"), (timedelta(hours=2), "2 hours ago")]
)
def test_list__shows_the_time_of_last_use(admin_client, make_key, ago, shown):
    make_key(last_used_at=ago and timezone.now() - ago)

    assert shown in text_of(admin_client.get(KEYS)).replace("\xa0", " ")


def test_list__as_many_queries_for_many_keys_as_for_one(admin_client, make_key, monkeypatch):
    counted = []
    monkeypatch.setattr(usage, "requests_last_minute", lambda keys: counted.append(len(list(keys))) or {})

    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            admin_client.get(KEYS)
        return len(captured)

    make_key()
    one = queries()
    for _ in range(10):
        make_key(last_used_at=timezone.now()).rotate(grace=timedelta(hours=1))

    assert queries() == one
    assert counted == [1, 21]


def test_events__are_read_only(admin_client, key):
    key.revoke()
    event = key.events.get()

    assert "Revoked" in text_of(admin_client.get(EVENTS))
    assert admin_client.get(f"{EVENTS}{event.pk}/change/").status_code == 200
    assert admin_client.get(EVENTS + "add/").status_code == 403
    assert admin_client.post(f"{EVENTS}{event.pk}/change/", {"actor": "bob"}).status_code == 403
    assert admin_client.post(f"{EVENTS}{event.pk}/delete/", {"post": "yes"}).status_code == 403


def test_events__of_a_removed_key_are_shown(admin_client, key):
    key.hard_delete()
    event = KeyEvent.objects.get()

    assert key.prefix in text_of(admin_client.get(EVENTS))
    assert admin_client.get(f"{EVENTS}{event.pk}/change/").status_code == 200

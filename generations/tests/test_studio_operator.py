"""The operator's page: who may see it, and its figures."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.db import OperationalError, connection
from django.test import Client
from django.utils import timezone

from generations import monitoring, renderers
from generations.status import Status

pytestmark = pytest.mark.django_db
URL = "/studio/operator"


@pytest.fixture
def browser() -> Client:
    return Client(headers={"Accept-Language": "en"})


@pytest.fixture
def operator(browser) -> Client:
    user = User.objects.create_user("ann", password="x", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename="view_generation"))
    browser.force_login(user)
    return browser


@pytest.fixture
def make_ended(make_generation):
    def make(minutes: float, error: str = "", **fields) -> None:
        result = {"status": Status.FAILED, "error_message": error} if error else {"image_path": "a.png"}
        end = timezone.now() - timedelta(minutes=minutes)
        make_generation(**{"status": Status.COMPLETED, "completed_at": end, "started_at": end, **result, **fields})

    return make


def text(answer) -> str:
    return " ".join(answer.content.decode().split())


def test_stranger__is_led_to_the_login(browser):
    assert browser.get(URL)["Location"] == f"/admin/login/?next={URL}"
    assert browser.get(URL, headers={"HX-Request": "true"}).status_code == 401


def test_holder_of_a_key__is_refused(browser, key):
    browser.post("/studio/sign-in", {"token": key.token})

    assert browser.get(URL).status_code == 403
    assert URL not in text(browser.get("/"))


def test_admin_user__without_the_permission_is_refused(browser):
    browser.force_login(User.objects.create_user("bob", password="x", is_staff=True))

    assert browser.get(URL).status_code == 403


def test_pages__lead_an_operator_there(operator, key):
    operator.post("/studio/key", {"key": str(key.pk)})

    assert f'href="{URL}"' in text(operator.get("/"))


def test_page__has_the_figures_of_the_system(operator, make_worker, make_generation, make_key):
    other = make_key(name="Harbour")
    waiting = make_generation(api_key=other, model="sketch")
    worker = make_worker(1, 3, make_generation(status=Status.PROCESSING))

    page = text(operator.get(URL))

    assert f"<strong>{worker}</strong>" in page
    assert "sketch:" in page
    assert f"{other}</a>" in page  # waits longest
    assert f"/admin/generations/generation/{waiting.id}/change/" in page


def test_figures__are_sent_alone_to_htmx(operator):
    page = text(operator.get(URL, headers={"HX-Request": "true"}))

    assert "<html" not in page
    assert "No worker: nothing is rendered." in page


def test_chart__has_the_last_hour(operator, make_ended):
    for minutes, error in [(0.5, ""), (0.5, ""), (2.5, "It broke."), (59.5, ""), (60.5, "")]:
        make_ended(minutes, error)

    page = text(operator.get(URL))

    assert "3 completed and 1 failed in the last hour" in page
    assert "<title>0 min ago: 2 completed, 0 failed</title>" in page
    assert "<title>2 min ago: 0 completed, 1 failed</title>" in page
    assert "<title>59 min ago: 1 completed, 0 failed</title>" in page
    assert page.count('class="minute"') == monitoring.HOUR


def test_failures__are_grouped_by_reason(operator, make_ended):
    for error in ["Out of memory.", "<b>It broke.</b>", "Out of memory."]:
        make_ended(5, error)
    make_ended(61, "An hour ago.")

    page = text(operator.get(URL))

    assert page.index("2×") < page.index("Out of memory.") < page.index("&lt;b&gt;It broke.&lt;/b&gt;")
    assert "An hour ago." not in page


def test_oldest__are_those_that_wait_longest(make_generation):
    ids = [str(make_generation().id) for _ in range(monitoring.MAX_OLDEST + 1)]

    assert [each["generation"] for each in monitoring.oldest_waiting()] == ids[:-1]


def test_renderer__that_is_down_is_shown_with_the_reason(operator, monkeypatch):
    states = [{"renderer": "comfyui://gpu1", "state": "down", "reason": "refused"}, {"renderer": "x", "state": "odd"}]
    monkeypatch.setattr(renderers.get_pool(), "states", lambda: states)

    page = text(operator.get(URL))

    assert '<span class="bad">down</span> <strong>comfyui://gpu1</strong> <span class="quiet">reason: refused' in page
    assert '<span class="good">odd</span>' in page


def test_page__without_a_database_can_be_requested_again(operator, monkeypatch, settings):
    settings.DEBUG = False
    operator.raise_request_exception = False

    def fail():
        raise OperationalError("secret")

    monkeypatch.setattr(monitoring, "last_hour", fail)

    answer = operator.get(URL, headers={"HX-Request": "true"})

    assert (answer.status_code, answer["Retry-After"]) == (503, "2")
    assert b"secret" not in answer.content


@pytest.mark.parametrize("find", [monitoring.ended_by_minute, monitoring.failures, monitoring.oldest_waiting])
def test_queries__use_an_index(find, make_ended, make_generation, django_assert_num_queries):
    make_ended(5, "It broke.")
    make_generation()
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")

    with django_assert_num_queries(1) as queries:
        find()

    with connection.cursor() as cursor:
        cursor.execute("EXPLAIN " + queries[0]["sql"])
        plan = " ".join(row[0] for row in cursor.fetchall())
    assert "generation_completed_at" in plan or "generation_by_status" in plan

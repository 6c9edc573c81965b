import uuid
from unittest.mock import Mock

import psycopg
import pytest
from django.db import InterfaceError, OperationalError
from django.test import Client
from procrastinate.exceptions import ConnectorException
from psycopg_pool import PoolTimeout

from generations.models import Generation
from generations.status import Status
from generations.tests.support.calls import URL, assert_problem, calls, post
from lockngen.database import retry
from lockngen.web.problems import IN_DOUBT

UNKNOWN = uuid.UUID(int=7)


def test_show__returns_the_outcome(api, make_generation):
    failed = make_generation()
    failed.fail(failed.start(), "The renderer ran out of memory.")

    answer = api.get(f"{URL}/{failed.id}").json()

    assert (answer["status"], answer["error"]) == ("failed", "The renderer ran out of memory.")
    assert answer["created_at"] <= answer["started_at"] <= answer["completed_at"]


def test_show__links_to_the_image(api, make_generation):
    generation = make_generation()
    generation.complete(generation.start(), "a.png")

    answer = api.get(f"{URL}/{generation.id}").json()

    assert answer["image_url"] == f"http://testserver{URL}/{generation.id}/image"


def test_show__accepts_an_id_in_upper_case(api, make_generation):
    generation = make_generation()

    assert api.get(f"{URL}/{str(generation.id).upper()}").json()["id"] == str(generation.id)


@pytest.mark.parametrize("id", [UNKNOWN, "1", "x" * 300, "%00", f"{{{UNKNOWN}}}", f"urn:uuid:{UNKNOWN}"])
def test_unknown_id__is_a_404_for_every_call(api, debug, id):
    for answer in calls(api, id).values():
        assert_problem(answer, 404)


@pytest.mark.parametrize("form", ["{{{id}}}", "urn:uuid:{id}", "{id.hex}"])
def test_id__in_another_form_is_a_404_for_every_call(api, make_generation, debug, form):
    generation = make_generation()

    for answer in calls(api, form.format(id=generation.id)).values():
        assert_problem(answer, 404)


def test_long_id__is_truncated_in_the_error(api):
    assert len(api.get(f"{URL}/{'x' * 300}").content) < 300


def test_deleted_id__is_a_404_for_every_call(api, make_generation, debug):
    generation = make_generation()
    generation.delete()

    for answer in calls(api, generation.id).values():
        assert_problem(answer, 404)


@pytest.mark.parametrize("status", [Status.PENDING, Status.PROCESSING])
def test_cancel__is_idempotent(api, make_generation, status):
    generation = make_generation(status=status)

    first, second = api.post(f"{URL}/{generation.id}/cancel"), api.post(f"{URL}/{generation.id}/cancel")

    assert (first.status_code, second.status_code) == (200, 200)
    assert first.json()["status"] == "cancelled"
    assert first.json()["completed_at"]
    assert second.json() == first.json()


def test_cancel__of_a_completed_generation_is_a_conflict(api, make_generation):
    generation = make_generation()
    generation.complete(generation.start(), "a.png")

    assert_problem(api.post(f"{URL}/{generation.id}/cancel"), 409, "completed")


def test_delete__hides_it(api, make_generation):
    generation = make_generation()

    answer = api.delete(f"{URL}/{generation.id}")

    assert (answer.status_code, answer.content) == (204, b"")
    assert not Generation.objects.exists()
    assert Generation.all_objects.get().status == Status.CANCELLED


@pytest.mark.parametrize(
    "path", ["/api", "/api/", "/api/v1", "/api/v1/", "/api/v1/nothing", "/api/v2/generations", URL + "/"]
)
def test_unknown_address__is_a_problem(api, debug, path):
    assert_problem(api.get(path), 404)
    assert_problem(api.post(path), 404)


def test_wrong_method__is_a_problem_that_names_the_right_ones(api, debug):
    answer = api.put(URL)

    assert_problem(answer, 405)
    assert set(answer["Allow"].split(", ")) == {"GET", "POST"}


def test_docs__refuse_post(api, debug):
    assert_problem(Client(enforce_csrf_checks=True).post("/api/v1/docs"), 405)


def test_head__answers_as_get_does_without_the_body(api, make_generation, debug):
    url = f"{URL}/{make_generation().id}"

    head, get = api.head(url), api.get(url)

    assert (head.status_code, head.content) == (200, b"")
    assert head["Content-Length"] == str(len(get.content))
    assert api.head(f"{URL}/nothing").status_code == 404


@pytest.mark.parametrize("error", [ZeroDivisionError("broken"), OperationalError("broken")])
def test_log__can_not_be_forged_by_an_address(api, monkeypatch, caplog, error):
    monkeypatch.setattr("generations.api.operations._own", Mock(side_effect=error))

    api.get(f"{URL}/{UNKNOWN}%0A2026-01-01 INFO root: forged")

    assert "broken" in caplog.text
    assert "\n2026-01-01 INFO root: forged" not in caplog.text


@pytest.mark.parametrize(("method", "path"), [("get", "/api/v1/nothing"), ("post", "/api/v1/docs")])
def test_log__names_a_refused_call_once(api, caplog, method, path):
    getattr(api, method)(path)

    assert len([record for record in caplog.records if path in record.getMessage()]) == 1


def test_bad_host__is_a_problem(api, debug):
    answer = api.get(URL, headers={"Host": "evil.example.org"})

    assert_problem(answer, 400, "ALLOWED_HOSTS")
    assert answer["Content-Length"] == str(len(answer.content))


def test_unexpected_error__reveals_nothing_to_the_client(api, debug, monkeypatch, caplog):
    monkeypatch.setattr(Generation.objects, "owned_by", lambda key: 1 / 0)

    answer = api.get(URL)

    assert_problem(answer, 500)
    assert "zero" not in answer.content.decode()
    assert "ZeroDivisionError" in caplog.text


def caused_by(error: Exception) -> ConnectorException:
    wrapper = ConnectorException()
    wrapper.__cause__ = error
    return wrapper


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (OperationalError("the connection is lost"), 503),
        (InterfaceError("the connection is closed"), 503),
        (PoolTimeout("no connection after 5 s"), 503),
        (caused_by(psycopg.OperationalError("the connection is lost")), 503),
        (caused_by(psycopg.ProgrammingError("no such function")), 500),
        (ConnectorException(), 500),
    ],
)
def test_unavailable_database__is_a_503_with_retry_after(api, debug, monkeypatch, error, status):
    def fail(**fields):
        raise error

    monkeypatch.setattr(Generation.objects, "submit", fail)

    answer = post(api, {"prompt": "a lighthouse"})

    assert_problem(answer, status)
    assert answer.has_header("Retry-After") == (status == 503)
    assert "connection" not in answer.json()["detail"]


def test_unknown_commit_result__is_a_503_of_its_own(api, monkeypatch):
    def fail(**fields):
        raise retry.InDoubt("the connection is lost") from psycopg.OperationalError("the connection is lost")

    monkeypatch.setattr(Generation.objects, "submit", fail)

    answer = post(api, {"prompt": "a lighthouse"})

    assert_problem(answer, 503)
    assert answer.json()["detail"] == IN_DOUBT


def test_docs__load_nothing_from_other_hosts(client):
    page = client.get("/api/v1/docs").content.decode()

    assert "/static/ninja/swagger-ui-bundle.js" in page
    assert "http" not in page.replace("http-equiv", "")

import json
import uuid

import psycopg
import pytest
from django.db import InterfaceError, OperationalError
from django.test import Client
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from procrastinate.exceptions import ConnectorException
from psycopg_pool import PoolTimeout

from generations import cursors
from generations.models import Generation
from generations.schemas import LARGEST_SEED
from generations.status import Status

URL = "/api/v1/generations"
UNKNOWN = uuid.UUID(int=7)
FIELDS = {
    "id", "status", "prompt", "negative_prompt", "model", "width", "height", "steps", "guidance", "seed",
    "image_url", "error", "created_at", "started_at", "completed_at",
}  # fmt: skip


def post(client: Client, body, **options):
    text = body if isinstance(body, str | bytes) else json.dumps(body)
    return client.post(URL, text, content_type="application/json", **options)


def assert_problem(answer, status: int, *words: str) -> None:
    problem = json.loads(answer.content)
    assert (answer.status_code, problem["status"]) == (status, status)
    assert answer["Content-Type"] == "application/problem+json"
    assert set(problem) >= {"type", "title", "status", "detail"}
    for word in words:
        assert word in problem["detail"]


@pytest.fixture(params=[True, False], ids=["debug", "no debug"])
def debug(request, settings):
    """Errors look the same with DEBUG on and off."""
    settings.DEBUG = request.param


# Creating


def test_create__stores_what_was_asked_for(api, key, waiting_jobs):
    asked = {"prompt": "a lighthouse", "negative_prompt": "fog", "model": "sdxl", "width": 640, "height": 64}
    asked |= {"steps": 150, "guidance": 3, "seed": LARGEST_SEED}

    answer = post(api, asked)

    assert answer.status_code == 201
    generation = Generation.objects.get()
    assert answer["Location"] == f"http://testserver{URL}/{generation.id}"
    assert answer.json().keys() == FIELDS
    assert answer.json() == {**answer.json(), **asked, "status": "pending", "id": str(generation.id)}
    assert {name: getattr(generation, name) for name in asked} == asked
    assert generation.api_key == key
    assert waiting_jobs() == [str(generation.id)]


def test_create__fills_in_defaults(api):
    answer = post(api, {"prompt": "a lighthouse"}).json()

    expected = {"negative_prompt": "", "model": "default", "width": 512, "height": 512, "steps": 30, "guidance": 7.0}
    assert answer == {**answer, **expected, "seed": None, "image_url": None, "error": None, "completed_at": None}


def test_create__links_to_the_public_address(api, settings):
    settings.PUBLIC_URL = "https://images.example.org"

    answer = post(api, {"prompt": "a lighthouse"})

    assert answer["Location"].startswith("https://images.example.org/api/v1/generations/")


@pytest.mark.parametrize("prompt", ["x", "x" * 2000, "ü" * 2000, "😀" * 2000, '\'; DROP TABLE "x"; -- {}%s'])
def test_create__takes_any_prompt_up_to_2000_characters(api, prompt):
    assert post(api, {"prompt": prompt}).json()["prompt"] == prompt
    assert Generation.objects.get().prompt == prompt


REFUSED = {
    "no prompt": ({}, "prompt"),
    "empty prompt": ({"prompt": ""}, "prompt"),
    "blank prompt": ({"prompt": " \n"}, "prompt"),
    "long prompt": ({"prompt": "x" * 2001}, "prompt"),
    "NUL in prompt": ({"prompt": "a\x00b"}, "prompt"),
    "half a character in prompt": ({"prompt": "\ud800"}, "prompt"),
    "number as prompt": ({"prompt": 1}, "prompt"),
    "null as prompt": ({"prompt": None}, "prompt"),
    "long negative prompt": ({"prompt": "x", "negative_prompt": "x" * 2001}, "negative_prompt"),
    "empty model": ({"prompt": "x", "model": ""}, "model"),
    "long model": ({"prompt": "x", "model": "x" * 101}, "model"),
    "width as text": ({"prompt": "x", "width": "512"}, "width"),
    "width as float": ({"prompt": "x", "width": 512.0}, "width"),
    "width as truth": ({"prompt": "x", "width": True}, "width"),
    "null as width": ({"prompt": "x", "width": None}, "width"),
    "small width": ({"prompt": "x", "width": 56}, "width"),
    "large height": ({"prompt": "x", "height": 2056}, "height"),
    "odd height": ({"prompt": "x", "height": 513}, "height"),
    "no steps": ({"prompt": "x", "steps": 0}, "steps"),
    "many steps": ({"prompt": "x", "steps": 151}, "steps"),
    "endless steps": ({"prompt": "x", "steps": 10**400}, "steps"),
    "guidance as text": ({"prompt": "x", "guidance": "7"}, "guidance"),
    "guidance as truth": ({"prompt": "x", "guidance": True}, "guidance"),
    "large guidance": ({"prompt": "x", "guidance": 30.1}, "guidance"),
    "no guidance": ({"prompt": "x", "guidance": float("nan")}, "guidance"),
    "negative seed": ({"prompt": "x", "seed": -1}, "seed"),
    "large seed": ({"prompt": "x", "seed": 2**53}, "seed"),
    "unknown field": ({"prompt": "x", "promt": "y"}, "promt"),
    "status": ({"prompt": "x", "status": 2}, "status"),
    "owner": ({"prompt": "x", "api_key": "y"}, "api_key"),
    "list": ([], "body"),
    "text": ('"x"', "body"),
    "null": ("null", "body"),
    "nothing": ("", "body"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_create__names_the_field_that_is_wrong(api, case, waiting_jobs):
    body, field = REFUSED[case]

    answer = post(api, body)

    assert_problem(answer, 422, field)
    assert field in [error["field"] for error in answer.json()["errors"]]
    assert not Generation.all_objects.exists()
    assert waiting_jobs() == []


@pytest.mark.parametrize("body", ["{", "prompt=x", b"\xff", "[" * 100_000, '{"seed": ' + "9" * 5000 + "}"])
def test_create__refuses_what_is_not_json(api, debug, body):
    assert_problem(post(api, body), 400, "JSON")
    assert not Generation.all_objects.exists()


def test_create__refuses_a_body_over_one_mebibyte(api, debug):
    assert_problem(post(api, {"prompt": "x" * 2**20}), 413, "1048576")


def test_create__refuses_a_body_in_chunks(api, debug):
    assert_problem(post(api, {"prompt": "x"}, headers={"Transfer-Encoding": "chunked"}), 411, "Content-Length")


def test_create__refuses_a_length_that_is_no_number(api, debug):
    assert_problem(post(api, {"prompt": "x"}, CONTENT_LENGTH="many"), 400, "Content-Length")


@hypothesis_settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from([*sorted(FIELDS), "x"]), inner),
        max_leaves=8,
    )
)
def test_create__answers_any_json_with_201_or_422(api, body):
    answer = post(api, json.dumps(body))

    assert answer.status_code in (201, 422), answer.content


# Listing


@pytest.fixture
def make_page(make_generation):
    """Generations, newest first."""
    return lambda count, **fields: [make_generation(**fields) for _ in range(count)][::-1]


def ids(answer) -> list[str]:
    return [item["id"] for item in answer.json()["items"]]


def test_list__walks_all_pages_newest_first(api, make_page):
    expected = [str(generation.id) for generation in make_page(5)]

    found, cursor, sizes = [], "", []
    while cursor is not None:
        answer = api.get(URL, {"limit": 2, "cursor": cursor} if cursor else {"limit": 2})
        found += ids(answer)
        sizes.append(len(ids(answer)))
        cursor = answer.json()["next_cursor"]

    assert found == expected
    assert sizes == [2, 2, 1]


def test_list__has_no_next_page_after_one_that_is_just_full(api, make_page):
    make_page(2)

    assert api.get(URL, {"limit": 2}).json()["next_cursor"] is None


def test_list__shows_twenty_by_default(api, make_page):
    make_page(21)

    assert len(ids(api.get(URL))) == 20


def test_list__filters_by_status(api, make_page, make_generation):
    make_page(1)
    processing = make_generation(status=Status.PROCESSING)

    assert ids(api.get(URL, {"status": "processing"})) == [str(processing.id)]
    assert ids(api.get(URL, {"status": "failed"})) == []


def test_list__hides_deleted_ones_and_those_of_others(api, make_page, make_key, client_of):
    first, second = make_page(2)
    first.delete()

    assert ids(api.get(URL)) == [str(second.id)]
    assert ids(client_of(make_key()).get(URL)) == []


def test_list__goes_on_where_the_cursor_s_row_was_deleted(api, make_page):
    _, middle, oldest = make_page(3)
    cursor = api.get(URL, {"limit": 2}).json()["next_cursor"]
    middle.delete()

    assert ids(api.get(URL, {"cursor": cursor})) == [str(oldest.id)]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"status": "done"}, "status"),
        ({"status": "2"}, "status"),
        ({"status": ""}, "status"),
        ({"limit": "0"}, "limit"),
        ({"limit": "101"}, "limit"),
        ({"limit": "1.0"}, "limit"),
        ({"limit": "-1"}, "limit"),
        ({"limit": "١"}, "limit"),
        ({"limit": "x"}, "limit"),
        ({"cursor": "garbage"}, "cursor"),
        ({"cursor": ""}, "cursor"),
        ({"cursor": "é\x00"}, "cursor"),
        ({"cursor": "A" * 23}, "cursor"),
    ],
)
def test_list__names_the_parameter_that_is_wrong(api, query, field):
    assert_problem(api.get(URL, query), 422, field)


@given(st.uuids())
def test_cursor__comes_back_as_the_id_it_was(id):
    assert cursors.decode(cursors.encode(id)) == id


@given(st.text() | st.text(alphabet="ABCabc012-_=", min_size=20, max_size=24))
def test_cursor__is_refused_unless_it_was_handed_out(text):
    try:
        id = cursors.decode(text)
    except ValueError:
        return
    assert cursors.encode(id) == text


# One generation


def calls(client: Client, id) -> dict:
    return {
        "show": client.get(f"{URL}/{id}"),
        "image": client.get(f"{URL}/{id}/image"),
        "cancel": client.post(f"{URL}/{id}/cancel"),
        "delete": client.delete(f"{URL}/{id}"),
    }


def test_show__tells_how_it_ended(api, make_generation):
    failed = make_generation()
    failed.fail(failed.start(), "The renderer ran out of memory.")

    answer = api.get(f"{URL}/{failed.id}").json()

    assert (answer["status"], answer["error"]) == ("failed", "The renderer ran out of memory.")
    assert answer["created_at"] <= answer["started_at"] <= answer["completed_at"]


@pytest.mark.parametrize("id", [UNKNOWN, "1", "x" * 300, "%00", f"{{{UNKNOWN}}}", f"urn:uuid:{UNKNOWN}"])
def test_unknown_id__is_a_404_for_every_call(api, debug, id):
    for answer in calls(api, id).values():
        assert_problem(answer, 404)


def test_stranger_s_id__is_a_404_for_every_call_and_changes_nothing(make_generation, make_key, client_of, debug):
    generation = make_generation()
    before = Generation.all_objects.values().get()

    for answer in calls(client_of(make_key()), generation.id).values():
        assert_problem(answer, 404)

    assert Generation.all_objects.values().get() == before


def test_deleted_id__is_a_404_for_every_call(api, make_generation, debug):
    generation = make_generation()
    generation.delete()

    for answer in calls(api, generation.id).values():
        assert_problem(answer, 404)


def test_no_key__is_a_401_for_every_call(make_generation, debug):
    generation = make_generation()

    for answer in [Client().get(URL), post(Client(), {"prompt": "x"}), *calls(Client(), generation.id).values()]:
        assert_problem(answer, 401, "Bearer")

    assert Generation.objects.get().status == Status.PENDING


@pytest.mark.parametrize("status", [Status.PENDING, Status.PROCESSING])
def test_cancel__ends_what_is_unfinished_and_says_the_same_again(api, make_generation, status):
    generation = make_generation(status=status)

    first, second = api.post(f"{URL}/{generation.id}/cancel"), api.post(f"{URL}/{generation.id}/cancel")

    assert (first.status_code, second.status_code) == (200, 200)
    assert first.json()["status"] == "cancelled"
    assert first.json()["completed_at"]
    assert second.json() == first.json()


def test_cancel__is_a_conflict_once_it_finished_otherwise(api, make_generation):
    generation = make_generation()
    generation.complete(generation.start(), "a.png")

    assert_problem(api.post(f"{URL}/{generation.id}/cancel"), 409, "completed")


def test_delete__hides_it(api, make_generation):
    generation = make_generation()

    answer = api.delete(f"{URL}/{generation.id}")

    assert (answer.status_code, answer.content) == (204, b"")
    assert not Generation.objects.exists()
    assert Generation.all_objects.get().status == Status.CANCELLED


# Whatever else is asked


@pytest.mark.parametrize("path", ["/api", "/api/", "/api/v1/", "/api/v1/nothing", "/api/v2/generations", URL + "/"])
def test_unknown_address__is_a_problem(api, debug, path):
    assert_problem(api.get(path), 404)
    assert_problem(api.post(path), 404)


def test_wrong_method__is_a_problem_that_names_the_right_ones(api, debug):
    answer = api.put(URL)

    assert_problem(answer, 405)
    assert set(answer["Allow"].split(", ")) == {"GET", "POST"}


def test_bad_host__is_a_problem(api, debug):
    assert_problem(api.get(URL, headers={"Host": "evil.example.org"}), 400, "ALLOWED_HOSTS")


def test_unexpected_error__tells_the_client_nothing(api, debug, monkeypatch, caplog):
    monkeypatch.setattr(Generation.objects, "owned_by", lambda key: 1 / 0)

    answer = api.get(URL)

    assert_problem(answer, 500)
    assert "Zero" not in answer.content.decode()
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
def test_database_away__is_a_503_that_says_when_to_try_again(api, debug, monkeypatch, error, status):
    def fail(**fields):
        raise error

    monkeypatch.setattr(Generation.objects, "submit", fail)

    answer = post(api, {"prompt": "a lighthouse"})

    assert_problem(answer, status)
    assert answer.has_header("Retry-After") == (status == 503)


def test_openapi__documents_every_call(client):
    paths = client.get("/api/v1/openapi.json").json()["paths"]

    assert {(path, method) for path in paths for method in paths[path]} == {
        (URL, "get"),
        (URL, "post"),
        (URL + "/{id}", "get"),
        (URL + "/{id}", "delete"),
        (URL + "/{id}/image", "get"),
        (URL + "/{id}/cancel", "post"),
        ("/api/v1/key", "get"),
    }


def test_docs__load_nothing_from_elsewhere(client):
    page = client.get("/api/v1/docs").content.decode()

    assert "/static/ninja/swagger-ui-bundle.js" in page
    assert "http" not in page.replace("http-equiv", "")

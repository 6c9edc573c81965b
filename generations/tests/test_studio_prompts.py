"""The studio's prompt form: what is stored, and what is shown of an error."""

import re

import pytest
from django.test import Client

from generations.models import Generation
from generations.studio import prompts

GERMAN = {"Accept-Language": "de"}

pytestmark = pytest.mark.django_db


@pytest.fixture
def browser() -> Client:
    return Client(headers={"Accept-Language": "en"})


@pytest.fixture
def studio(browser, key) -> Client:
    browser.post("/studio/sign-in", {"token": key.token})
    return browser


def test_create__stores_what_the_form_has(studio, key, waiting_jobs):
    fields = {"prompt": "a lighthouse", "width": "640", "guidance": "3.5", "n": "2", "labels": "a=1, b = x=y"}

    answer = studio.post("/studio/generations", fields, headers={"HX-Request": "true"})

    assert (answer.status_code, answer["HX-Trigger"]) == (200, "studio:created")
    assert b"2 images are queued." in answer.content
    generations = list(Generation.objects.order_by("id"))
    assert [(each.api_key, each.width, each.guidance) for each in generations] == [(key, 640, 3.5)] * 2
    assert generations[1].seed == generations[0].seed + 1
    assert generations[0].labels == {"a": "1", "b": "x=y"}


def test_create__without_scripts_leads_back(studio):
    answer = studio.post("/studio/generations", {"prompt": "a lighthouse"})

    assert (answer.status_code, answer["Location"]) == (302, "/")


def test_form__that_is_sent_twice_creates_once(studio):
    call = studio.get("/").context["call"]

    for prompt in ("a", "a", "b"):
        studio.post("/studio/generations", {"prompt": prompt, "call": call})

    assert sorted(each.prompt for each in Generation.objects.all()) == ["a", "b"]


def error_beside(answer, name: str) -> str:
    return re.search(rf'<span class="error" id="{name}-error">(.*?)</span>', answer.content.decode())[1]


@pytest.mark.parametrize("call", ["١٢٣", "a b", "\0", "x" * 100])
def test_form__with_a_key_of_its_own_making_creates(studio, call):
    assert studio.post("/studio/generations", {"prompt": "a", "call": call}).status_code == 302


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({}, "prompt"),
        ({"prompt": "x", "width": "65"}, "width"),
        ({"prompt": "x", "width": "wide"}, "width"),
        ({"prompt": "x", "model": "none"}, "model"),
        ({"prompt": "x", "labels": "a b"}, "labels"),
        ({"prompt": "x", "n": "11"}, "n"),
    ],
)
def test_create__shows_what_is_wrong(studio, fields, error):
    answer = studio.post("/studio/generations", fields)

    assert answer.status_code == 422
    assert error in answer.context["errors"]
    assert error_beside(answer, error)
    assert not Generation.objects.exists()


def test_create__takes_a_unit_of_the_key_s_limit(browser, make_key):
    browser.post("/studio/sign-in", {"token": make_key(rate_limit=1).token})
    browser.post("/studio/generations", {"prompt": "a"})

    answer = browser.post("/studio/generations", {"prompt": "b"})

    assert answer.status_code == 422
    assert "used up" in answer.context["errors"]["call"]
    assert [each.prompt for each in Generation.objects.all()] == ["a"]


def test_form__has_a_place_for_the_error_of_each_field(studio):
    answer = studio.get("/")

    replaced = re.search(r'id="prompt" .*?hx-select-oob="(.*?)"', answer.content.decode(), re.DOTALL)[1]
    for id in (each.strip("#").partition(":")[0] for each in replaced.split(",")):
        assert f'id="{id}"' in answer.content.decode()
    assert not any(error_beside(answer, name) for name in prompts.FIELDS)


@pytest.mark.parametrize(
    ("fields", "name", "text"),
    [
        ({}, "prompt", "Dies ist erforderlich."),
        ({"prompt": "x" * 2001}, "prompt", "Höchstens 2000 Zeichen sind möglich."),
        ({"prompt": "\u3164"}, "prompt", "Der Text ist leer: er enthält kein sichtbares Zeichen."),
        ({"width": "56"}, "width", "Dies muss mindestens 64 sein."),
        ({"width": "4000"}, "width", "Dies darf höchstens 2048 sein."),
        ({"width": "65"}, "width", "Dies muss ein Vielfaches von 8 sein."),
        ({"width": "wide"}, "width", "Dies muss eine ganze Zahl sein."),
        ({"guidance": "high"}, "guidance", "Dies muss eine Zahl sein."),
        ({"guidance": "nan"}, "guidance", "Dies muss eine Zahl sein."),
        ({"seed": "9" * 20}, "seed", "Dies muss zwischen 0 und 9007199254740991 liegen oder leer sein"),
        ({"seed": "9007199254740991", "n": "2"}, "seed", "Für das Modell sketch muss der Wert zwischen 0 und"),
        ({"quality": "90"}, "quality", "Eine Qualität setzt das Format JPEG oder WebP voraus."),
        ({"labels": "two words=x"}, "labels", "Der Name eines Labels besteht aus 1 bis 40 der Zeichen"),
        ({"labels": ",".join(f"l{n}=x" for n in range(17))}, "labels", "Höchstens 16 sind möglich."),
        ({"model": "none"}, "model", "Das Modell ist unbekannt; gültige Modelle: default, sketch."),
    ],
)
def test_error__is_in_the_visitor_s_language(studio, fields, name, text):
    answer = studio.post("/studio/generations", {"prompt": "x", **fields} if fields else {}, headers=GERMAN)

    assert error_beside(answer, name).startswith(text)


def test_quota__is_explained_in_the_visitor_s_language(browser, make_key):
    browser.post("/studio/sign-in", {"token": make_key(max_pending=1).token})
    browser.post("/studio/generations", {"prompt": "a"})

    answer = browser.post("/studio/generations", {"prompt": "b"}, headers=GERMAN)

    assert answer.context["errors"]["call"].startswith("Der Schlüssel hat sein Kontingent von 1 ")
    assert answer.context["errors"]["call"].endswith("oder brechen Sie eines ab.")


def test_errors_of_the_api__are_in_english(api):
    answer = api.post("/api/v1/generations", {"prompt": "x", "model": "none"}, "application/json", headers=GERMAN)

    assert answer.json()["errors"] == [{"field": "model", "detail": "it is unknown; valid models: default, sketch"}]

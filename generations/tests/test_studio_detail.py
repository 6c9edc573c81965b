"""The lightbox: one generation, its values, and what a visitor can do with it."""

import json
from io import BytesIO

import pytest
from django.test import Client
from PIL import Image

from generations.models import Generation

pytestmark = pytest.mark.django_db


@pytest.fixture
def studio(key) -> Client:
    browser = Client(headers={"Accept-Language": "en"})
    browser.post("/studio/sign-in", {"token": key.token})
    return browser


def url(generation: Generation, action: str = "") -> str:
    return f"/studio/generations/{generation.id}{action}"


def test_detail__has_all_values(studio, make_completed):
    generation = make_completed(prompt='a "red" lighthouse', negative_prompt="fog", seed=7, labels={"a": "b"})

    answer = studio.get(url(generation))

    values = json.loads(answer.context["values"])
    assert values["prompt"] == 'a "red" lighthouse'
    assert (values["negative_prompt"], values["seed"], values["width"]) == ("fog", 7, 512)
    assert answer.context["labels"] == "a=b"


def test_detail__of_a_deleted_one_can_be_restored(studio, make_completed):
    generation = make_completed()
    generation.delete()

    assert b"Restore" in studio.get(url(generation)).content


def test_detail__of_a_stranger_s_or_purged_one_is_a_message_in_the_lightbox(studio, make_completed, make_key):
    foreign = make_completed(api_key=make_key(), prompt="a secret")
    purged = make_completed()
    purged_url = url(purged)
    purged.hard_delete()

    for address in (url(foreign), purged_url):
        answer = studio.get(address, headers={"HX-Request": "true"})
        assert (answer.status_code, b"no such image" in answer.content) == (200, True)
        assert b"secret" not in answer.content


def test_labels__are_replaced(studio, make_completed):
    generation = make_completed(labels={"a": "b"})

    studio.post(url(generation, "/labels"), {"labels": "project = harbour, shot=1=2"})

    generation.refresh_from_db()
    assert generation.labels == {"project": "harbour", "shot": "1=2"}


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        ("a b=c", "A label's name has 1 to 40 of the characters"),
        ("=x", "A label's name has 1 to 40 of the characters"),
        ("a=" + "x" * 201, "At most 200 characters"),
        (",".join(f"l{n}=x" for n in range(17)), "At most 16 are possible"),
        ("a=\0", "NUL"),
    ],
)
def test_labels__that_are_invalid_show_the_reason(studio, make_completed, labels, reason):
    generation = make_completed(labels={"a": "b"})

    answer = studio.post(url(generation, "/labels"), {"labels": labels})

    generation.refresh_from_db()
    assert generation.labels == {"a": "b"}
    assert reason in answer.context["errors"]["edit-labels"]


@pytest.mark.parametrize(("format", "kind"), [("png", "PNG"), ("jpeg", "JPEG"), ("webp", "WEBP")])
def test_download__converts_the_image(studio, make_completed, format, kind):
    generation = make_completed(prompt="Ein Café, bei Nacht!")

    answer = studio.get(url(generation, f"/download.{format}"))

    assert answer["Content-Type"] == f"image/{format}"
    assert 'filename="20' in answer["Content-Disposition"]
    assert "ein-cafe-bei-nacht" in answer["Content-Disposition"]
    assert Image.open(BytesIO(answer.content)).format == kind


def test_download__of_another_format_or_without_an_image_is_a_404(studio, make_completed, make_generation):
    assert studio.get(url(make_completed(), "/download.gif")).status_code == 404
    assert studio.get(url(make_generation(), "/download.png")).status_code == 404


@pytest.mark.parametrize("action", ["", "/download.png"])
def test_stranger_s_generation__cannot_be_read(studio, make_completed, make_key, action):
    assert studio.get(url(make_completed(api_key=make_key()), action)).status_code == 404


def test_stranger_s_generation__cannot_be_changed(studio, make_completed, make_key):
    generation = make_completed(api_key=make_key(), labels={"a": "b"})

    assert studio.post(url(generation, "/labels"), {"labels": ""}).status_code == 404
    generation.refresh_from_db()
    assert generation.labels == {"a": "b"}


@pytest.mark.parametrize("action", ["/labels", "/cancel", "/again", "/dismiss"])
def test_changes__need_a_post(studio, make_completed, action):
    assert studio.get(url(make_completed(), action)).status_code == 405

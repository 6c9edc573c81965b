import logging
from datetime import timedelta
from urllib.parse import urlsplit

import pytest
from django.test import Client

from apikeys.logs import TokenFreeFormatter
from apikeys.models import ApiKey
from apikeys.tests.test_models import UNUSABLE
from generations.api import signed_urls
from generations.tests.support.calls import URL, assert_problem, post

PURPOSES = ["image", "thumbnail", "events"]


@pytest.fixture
def urls(api, make_completed):
    """The signed addresses of a completed generation."""
    return shown(api, make_completed())


def shown(api, generation) -> dict:
    return api.get(f"{URL}/{generation.id}").json()["signed_urls"]


def get(url: str, method: str = "get", **options):
    parts = urlsplit(url)
    answer = getattr(Client(), method)(f"{parts.path}?{parts.query}", **options)
    if answer.streaming and parts.path.endswith("/image"):
        b"".join(answer.streaming_content)  # which closes the file
    return answer


@pytest.mark.parametrize("purpose", PURPOSES)
@pytest.mark.parametrize("method", ["get", "head"])
def test_signed_url__needs_no_key_and_is_not_counted(urls, purpose, method):
    answer = get(urls[purpose], method)

    assert answer.status_code == 200
    assert answer["Content-Type"] == {"image": "image/png", "thumbnail": "image/webp"}.get(purpose, "text/event-stream")
    assert not answer.has_header("RateLimit-Remaining")


def test_signed_url__is_null_without_an_image(api):
    urls = post(api, {"prompt": "x"}).json()["signed_urls"]

    assert (urls["image"], urls["thumbnail"]) == (None, None)
    assert "/events?signature=" in urls["events"]


def test_signed_url__has_the_same_etag(api, urls):
    etag = get(urls["image"])["ETag"]

    assert api.get(urlsplit(urls["image"]).path, headers={"If-None-Match": etag}).status_code == 304
    assert get(urls["image"], headers={"If-None-Match": etag}).status_code == 304


def test_signed_url__contains_no_token_and_stays_the_same_for_a_while(api, key, make_completed, monkeypatch):
    monkeypatch.setattr(signed_urls.time, "time", lambda: 1_800_000_000.0)
    generation = make_completed()
    urls = shown(api, generation)
    monkeypatch.setattr(signed_urls.time, "time", lambda: 1_800_000_100.0)

    assert shown(api, generation) == urls
    assert key.token not in str(urls)
    assert key.key_hash not in str(urls)


@pytest.mark.parametrize("state", UNUSABLE)
def test_signed_url__ends_with_its_key(key, urls, state):
    ApiKey.all_objects.filter(pk=key.pk).update(**UNUSABLE[state])

    for purpose in PURPOSES:
        assert_problem(get(urls[purpose]), 401)


def test_signed_url__ends_with_its_generation(api, make_completed):
    generation = make_completed()
    urls = shown(api, generation)
    generation.delete()

    for purpose in PURPOSES:
        assert_problem(get(urls[purpose]), 404)


def test_signed_url__of_a_rotated_key_ends_with_that_key(api, key, client_of, make_completed):
    generation = make_completed()
    old = shown(api, generation)
    new_key, new_key.token = key.rotate(grace=timedelta(0))
    new = shown(client_of(new_key), generation)

    assert get(old["image"]).status_code == 401
    assert get(new["image"]).status_code == 200


@pytest.mark.parametrize("change", ["signature", "key", "expiry", "purpose", "generation", "spelling", "empty", "junk"])
def test_changed_signed_url__is_refused_like_an_expired_one(api, urls, make_completed, make_key, monkeypatch, change):
    url = urls["image"]
    head, mac = url.rsplit(".", 1)
    start, expires = head.rsplit(".", 1)
    other_key = signed_urls.Signatures(make_key().pk).of(make_key().pk, "image").partition(".")[0]
    changed = {
        "signature": f"{head}.{mac[:-2]}{'A' if mac[-2] != 'A' else 'B'}{mac[-1]}",
        "key": url.partition("signature=")[0] + f"signature={other_key}.{expires}.{mac}",
        "expiry": f"{start}.{int(expires) + 1}.{mac}",
        "purpose": url.replace("/image?", "/events?"),
        "generation": url.replace(url.split("/")[6], str(make_completed().id)),
        "spelling": url.replace("signature=", "%73ignature="),
        "empty": url.partition("signature=")[0] + "signature=",
        "junk": url.partition("signature=")[0] + "signature=é.x.%00",
    }[change]

    answer = get(changed)

    monkeypatch.setattr(signed_urls.time, "time", lambda: float(expires))
    assert_problem(answer, 401, "signed address")
    assert answer.content == get(url).content


def test_signed_url__of_the_image_is_invalid_for_the_thumbnail(urls):
    assert get(urls["image"] + "&size=thumb").status_code == 401
    assert get(urls["thumbnail"].replace("size=thumb&", "")).status_code == 401


def test_signed_url__is_for_one_method_and_call(urls, key):
    path, query = urlsplit(urls["image"]).path, urlsplit(urls["image"]).query

    assert Client().delete(f"{path}?{query}").status_code == 405
    assert Client().get(f"{path.removesuffix('/image')}?{query}").status_code == 401
    assert Client().delete(f"{path.removesuffix('/image')}?{query}").status_code == 401
    assert Client().get(f"{URL}?{query}").status_code == 401


def test_signed_url__survives_a_change_of_the_secret_key(urls, settings):
    settings.SECRET_KEY_FALLBACKS, settings.SECRET_KEY = [settings.SECRET_KEY], "n" * 50
    assert signed_urls.Signer(salt="lockngen.signed_urls").fallback_keys
    signer = signed_urls._signer
    signed_urls._signer = signed_urls.Signer(salt="lockngen.signed_urls")
    try:
        assert get(urls["image"]).status_code == 200
        settings.SECRET_KEY_FALLBACKS = []
        signed_urls._signer = signed_urls.Signer(salt="lockngen.signed_urls")
        assert get(urls["image"]).status_code == 401
    finally:
        signed_urls._signer = signer


def test_logs__redact_the_signature(urls):
    record = logging.LogRecord("x", 20, "", 0, f'"GET {urls["thumbnail"]} HTTP/1.1" 200', (), None)

    line = TokenFreeFormatter().format(record)

    assert line.endswith('?size=thumb&signature=… HTTP/1.1" 200')

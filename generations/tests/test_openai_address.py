"""How a server with OpenAI's images API is reached, and which key it gets."""

import pytest

from generations.renderers import from_url
from generations.renderers.openai import address


@pytest.mark.parametrize(
    ("url", "http"),
    [
        ("openai://gpu", "http://gpu:8000"),
        ("openai://gpu:11434/v1", "http://gpu:11434"),
        ("openais://api.openai.com/v1/", "https://api.openai.com:443"),
        ("openais://example.org/llm/v1", "https://example.org:443/llm"),
        ("openai://[::1]:8189/base?concurrency=3", "http://[::1]:8189/base"),
    ],
)
def test_address__is_parsed(url, http):
    assert address.parse(url).location.http == http


def test_options__are_parsed():
    found = address.parse(
        "openai://gpu?concurrency=3&models=a/b+c%2Cd&fields=plain&image_hosts=x+y:81&steps=9&guidance=0.5&width=1024"
    )

    assert (found.concurrency, found.models, found.fields) == (3, ("a/b", "c", "d"), "plain")
    assert found.image_hosts == ("x", "y:81")
    assert found.defaults == {"steps": 9, "guidance": 0.5, "width": 1024}


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("openai:", "openai://host:8000"),
        ("openai://gpu:port", "openai://host:8000"),
        ("openai://gpu?models=", "models must be one or more names, separated by +"),
        ("openai://gpu?fields=all", "fields must be one of extended, plain, sdcpp"),
        ("openai://gpu?steps=many", "steps must be a whole number"),
        ("openai://gpu?guidance=-1", "guidance must be a number"),
        ("openai://gpu?key=secret", "valid options: concurrency, models, fields, image_hosts, width"),
        ("openai://me:secret@gpu", "OPENAI_RENDERER_KEY"),
    ],
)
def test_invalid_address__is_rejected_with_the_reason(url, message):
    with pytest.raises(ValueError, match=r"option|password|address") as caught:
        from_url(url)

    assert message in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("keys", "url", "header"),
    [
        ("", "openai://gpu", ""),
        ("sk-1", "openai://gpu", "Bearer sk-1"),
        ("Basic bWU6cHc=", "openai://gpu", "Basic bWU6cHc="),
        ("sk-1==", "openai://gpu", "Bearer sk-1=="),
        ("gpu=sk-1, api.openai.com=sk-2", "openai://gpu:81/v1", "Bearer sk-1"),
        ("gpu=sk-1, API.openai.com=Bearer sk-2", "openais://api.openai.com", "Bearer sk-2"),
        ("gpu:81=sk-1, gpu:82=sk-2", "openai://gpu:82", "Bearer sk-2"),
        ("gpu=sk-1, gpu:82=sk-2", "openai://gpu:82", "Bearer sk-2"),
        ("other=sk-1", "openai://gpu", ""),
        ("other=sk-1, sk-2", "openai://gpu", "Bearer sk-2"),
    ],
)
def test_key__is_that_of_the_host(keys, url, header):
    assert address.authorization(keys, address.parse(url).location) == header

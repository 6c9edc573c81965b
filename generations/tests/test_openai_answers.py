"""The reading of answers of a server with OpenAI's images API, which may contain anything."""

import json
from contextlib import suppress

from hypothesis import example, given
from hypothesis import strategies as st

from generations.renderers.base import RendererFailure, RenderError
from generations.renderers.http.calls import Answer
from generations.renderers.openai import answers
from generations.renderers.openai.address import OPENAI

NAMES = st.sampled_from(
    ["data", "b64_json", "url", "id", "error", "message", "detail", "code", "loc", "msg", "steps", "x"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(NAMES, values, max_size=4),
)
HEADERS = st.dictionaries(st.sampled_from(["Retry-After", "X-Should-Retry", "Content-Type"]), st.text(max_size=20))


def make_answer(status: int, headers: dict[str, str], content: bytes) -> Answer:
    return Answer(OPENAI, "POST /v1/images/generations", status, headers, content)


def outcome(answer: Answer) -> bytes | RendererFailure | RenderError:
    try:
        answers.check(answer, "flux")
        return answers.image(answer, lambda url: url.encode("utf-8", "replace"))
    except (RendererFailure, RenderError) as error:
        return error


@given(st.integers(100, 599), HEADERS, VALUES)
@example(429, {"Retry-After": "Wed, 21 Oct 2099 07:28:00"}, {})
@example(422, {}, {"detail": [{"loc": [], "msg": "x"}]})
@example(200, {}, {"data": [{"b64_json": 1, "url": "http://x"}]})
def test_answer__gives_a_result_or_one_of_the_known_errors(status, headers, content):
    answer = make_answer(status, headers, json.dumps(content).encode())

    with suppress(RendererFailure):
        assert all(isinstance(id, str) and id for id in answers.model_ids(answer))
    result = outcome(answer)

    if isinstance(result, Exception):
        text = f"{result} {getattr(result, 'reason', '')}"
        assert text.isprintable()
        assert len(str(result)) < 600
    else:
        assert isinstance(result, bytes)


@given(st.binary(max_size=200))
def test_answer__that_is_not_json_is_a_failure(content):
    outcomes = [outcome(make_answer(status, {}, b"x" + content)) for status in (200, 400, 500)]

    assert [type(each) for each in outcomes] == [RendererFailure, RenderError, RendererFailure]

"""Log lines of rejected calls, which contain no token."""

import logging

import pytest
from django.conf import settings
from django.test import Client
from django.utils.module_loading import import_string
from hypothesis import given
from hypothesis import strategies as st

from apikeys import tokens
from apikeys.logs import JobFilter
from apikeys.tests.test_authentication import bad_tokens, bearer
from apikeys.tests.test_models import UNUSABLE
from generations.tests.support.calls import URL


def test_log__has_one_line_with_the_reason(make_key, caplog):
    sent = bad_tokens(make_key)
    Client().get(URL)
    for token in sent.values():
        bearer(token).get(URL)

    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 1 + len(sent)
    for reason, line in zip(["missing", *sent], lines, strict=True):
        assert line.startswith(f"Refused: reason={reason} key=")
        assert line.endswith(f" remote=127.0.0.1 method=GET path='{URL}' request_id=-")


def test_log__contains_no_token_and_no_malformed_one(make_key, caplog):
    sent = bad_tokens(make_key)
    for token in sent.values():
        bearer(token).get(URL)

    assert [token for token in sent.values() if token in caplog.text] == []
    assert sent["unknown"][:14] in caplog.text


def test_log__names_an_unusable_and_a_limited_key(make_key, client_of, caplog):
    revoked, limited = make_key(**UNUSABLE["revoked"]), make_key(rate_limit=1)

    client_of(revoked).get(URL)
    client_of(limited).get(URL), client_of(limited).get(URL)

    first, second = [record.getMessage() for record in caplog.records]
    assert f"reason=revoked key={revoked.pk} prefix={revoked.prefix} " in first
    assert f"reason=limited key={limited.pk} prefix={limited.prefix} " in second


def test_log__has_no_line_for_an_admitted_call(api, caplog):
    api.get(URL)

    assert caplog.records == []


def test_log__names_the_client_behind_a_trusted_proxy(caplog, db, settings):
    settings.TRUSTED_PROXIES = ["127.0.0.1"]

    Client().get(URL, headers={"X-Forwarded-For": "203.0.113.7"})

    assert "remote=203.0.113.7 " in caplog.text


@pytest.fixture
def formatter():
    """The formatter of the settings."""
    options = dict(settings.LOGGING["formatters"]["line"])
    return import_string(options.pop("()"))("{message}", style="{")


@given(before=st.text(), after=st.text(), kind=st.sampled_from([tokens.LIVE, tokens.TEST]))
def test_redacted__keeps_the_visible_start(before, after, kind):
    token = tokens.make(kind)

    redacted = tokens.redacted(before + token + after)

    assert token not in redacted
    assert redacted.startswith(before + tokens.visible(token) + "…")


@pytest.mark.parametrize("length", [15, 30, 56, 57])
def test_redacted__truncates_part_of_a_token(length):
    part = tokens.make()[:length]

    assert tokens.redacted(part) == part[:14] + "…"
    assert tokens.is_in(part)


def test_redacted__keeps_a_visible_start_as_it_is():
    assert tokens.redacted("lg_live_4tsBjs") == "lg_live_4tsBjs"
    assert not tokens.is_in("lg_live_4tsBjs")


def test_format__redacts_message_and_arguments(formatter):
    token = tokens.make()
    record = logging.LogRecord("web", logging.INFO, "", 0, "GET /?key=%s HTTP/1.1", (token,), None)

    assert formatter.format(record) == f"GET /?key={tokens.visible(token)}… HTTP/1.1"


def test_format__redacts_a_traceback(formatter, caplog):
    token = tokens.make()
    try:
        raise ValueError(token)
    except ValueError:
        logging.getLogger("web").exception("It failed")

    (record,) = caplog.records
    text = formatter.format(record)
    assert f"ValueError: {tokens.visible(token)}…" in text
    assert token not in text


@pytest.mark.parametrize(
    ("action", "level", "is_shown"),
    [
        ("job_success", logging.INFO, False),
        ("start_job", logging.INFO, False),
        ("start_worker", logging.INFO, True),
        ("job_error", logging.ERROR, True),
        ("job_error_retry", logging.INFO, True),
    ],
)
def test_job_filter__hides_routine_lines_of_the_queue(action, level, is_shown):
    record = logging.makeLogRecord({"levelno": level, "action": action})

    assert JobFilter().filter(record) is is_shown


def test_job_filter__hides_a_retry_that_is_part_of_the_routine():
    class Postponed(Exception):
        is_routine = True

    def record(error: Exception) -> logging.LogRecord:
        return logging.makeLogRecord(
            {"levelno": logging.INFO, "action": "job_error_retry", "exc_info": (type(error), error, None)}
        )

    assert not JobFilter().filter(record(Postponed()))
    assert JobFilter().filter(record(ValueError()))

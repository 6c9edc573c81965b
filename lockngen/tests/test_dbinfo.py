import json

import pytest
from django.core.management import call_command

pytestmark = pytest.mark.django_db(transaction=True)


def test_dbinfo__shows_the_settings_in_force_and_the_time_of_connecting(settings, capsys):
    call_command("dbinfo", "--json")

    facts = json.loads(capsys.readouterr().out)
    assert facts["server"]["version"].startswith("16")
    assert facts["settings"]["statement_timeout"] == f"{settings.DB_STATEMENT_TIMEOUT:g}s"
    assert facts["settings"]["lock_timeout"] == f"{settings.DB_LOCK_TIMEOUT:g}s"
    assert facts["settings"]["idle_in_transaction_session_timeout"] == "1min"
    assert facts["server"]["through a pooler"] is False
    assert "not in force" not in facts
    assert facts["pool"]["pool_max"] == settings.DB_POOL_MAX_SIZE
    for latency in (facts["cold connect (ms)"], facts["checkout from the pool (ms)"]):
        assert 0 < latency["median"] <= latency["worst"]
    assert facts["cold connect (ms)"]["median"] < 100
    assert facts["checkout from the pool (ms)"]["median"] < facts["cold connect (ms)"]["median"]


def test_dbinfo__shows_what_is_not_in_force(settings, capsys):
    settings.DB_TIMEOUTS = {"lock_timeout": 7}

    call_command("dbinfo", "--json")

    facts = json.loads(capsys.readouterr().out)
    assert facts["not in force"]["what"] == "lock_timeout is 10000 ms, not 7"
    assert "DB_PGBOUNCER" in facts["not in force"]["remedy"]


def test_dbinfo__is_a_page_of_text_without_the_password(settings, capsys):
    call_command("dbinfo")

    text = capsys.readouterr().out
    assert "cold connect (ms)\n  median" in text
    assert settings.DATABASES["default"]["PASSWORD"] not in text

"""The security headers of every kind of response."""

import pytest
from django.contrib.staticfiles import finders
from django.test import Client

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    "path",
    [
        *("/", "/nothing", "/admin/login/", "/ht/", "/api/v1/docs", "/api/v1/openapi.json"),
        *("/api/v1/generations", "/api/nothing", "/static/lockngen/base.css"),
    ],
)
@pytest.mark.parametrize("host", ["testserver", "evil.example"])
def test_headers__are_on_every_response(path, host):
    assert finders.find("lockngen/base.css")

    answer = Client(headers={"Host": host}).get(path)
    answer.close()

    assert answer["X-Content-Type-Options"] == "nosniff"
    scripts = answer["Content-Security-Policy"].partition("script-src ")[2].partition(";")[0]
    assert scripts == "'self'"

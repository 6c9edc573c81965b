"""Which settings of the storage in S3 fit together, and that the environment alone decides where images are."""

import os
import subprocess
import sys

import pytest

from lockngen.environment import BASE_DIR
from lockngen.storage import s3_checks
from lockngen.storage.s3 import S3ImageStorage

WORKING = {"S3_BUCKET": "pictures", "S3_REGION": "eu-central-1"}


def ids(settings, **values: str) -> list[str]:
    for name, value in values.items():
        setattr(settings, name, value)
    found = [check for name, check in vars(s3_checks).items() if name.startswith("s3_")]
    return [message.id for check in found for message in check(None)]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, []),
        (WORKING, []),
        ({"S3_BUCKET": "pictures", "S3_ENDPOINT_URL": "http://minio:9000", "S3_ADDRESSING_STYLE": "path"}, []),
        ({**WORKING, "S3_ACCESS_KEY_ID": "id", "S3_SECRET_ACCESS_KEY": "secret"}, []),
        ({**WORKING, "S3_ACCESS_KEY_ID": "id"}, ["lockngen.E011"]),
        ({**WORKING, "S3_SECRET_ACCESS_KEY": "secret"}, ["lockngen.E011"]),
        ({**WORKING, "S3_ADDRESSING_STYLE": "paths"}, ["lockngen.E012"]),
        ({"S3_BUCKET": "pictures"}, ["lockngen.E013"]),
        ({"S3_REGION": "eu-central-1"}, ["lockngen.W003"]),
        ({"S3_PREFIX": "here"}, ["lockngen.W003"]),
    ],
)
def test_settings__that_do_not_fit_are_reported(settings, values, expected):
    assert ids(settings, **values) == expected


@pytest.mark.parametrize("missing", ["storages", "boto3"])
def test_packages__that_are_missing_are_reported(settings, monkeypatch, missing):
    find = s3_checks.find_spec
    monkeypatch.setattr(s3_checks, "find_spec", lambda name: None if name == missing else find(name))

    assert ids(settings) == []
    assert ids(settings, **WORKING) == ["lockngen.E010"]


def test_secret__is_not_reported(settings):
    settings.S3_SECRET_ACCESS_KEY = "hush"

    (message,) = s3_checks.s3_credentials_are_whole(None)

    assert "hush" not in str(message)


PRINT_IT = """
import django
django.setup()
from django.core.files.storage import storages
storage = storages["default"]
print(*(getattr(storage, name, None) for name in ("__class__", "bucket_name", "location", "region_name", "access_key")))
"""


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        pytest.param(
            {"MEDIA_ROOT": "/a/b"},
            "<class 'lockngen.storage.filesystem.DurableFileSystemStorage'> None /a/b None None",
            marks=pytest.mark.faults,
        ),
        (
            {**WORKING, "S3_PREFIX": "/a/b/", "S3_ACCESS_KEY_ID": "id", "S3_SECRET_ACCESS_KEY": "secret"},
            "<class 'lockngen.storage.s3.S3ImageStorage'> pictures a/b eu-central-1 id",
        ),
    ],
)
def test_environment__alone_decides_where_images_are(variables, expected):
    environment = {**os.environ, **variables}

    done = subprocess.run(
        [sys.executable, "-c", PRINT_IT], cwd=BASE_DIR, env=environment, capture_output=True, text=True, check=True
    )

    assert done.stdout == f"{expected}\n"


def test_credentials__of_ours_are_not_mixed_with_those_of_the_environment(settings, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, "the environment's")

    theirs = S3ImageStorage()
    settings.S3_ACCESS_KEY_ID, settings.S3_SECRET_ACCESS_KEY = "id", "secret"
    ours = S3ImageStorage()

    assert (theirs.access_key, theirs.secret_key, theirs.security_token) == ("the environment's",) * 3
    assert (ours.access_key, ours.secret_key, ours.security_token) == ("id", "secret", None)


@pytest.mark.parametrize(
    ("endpoint", "is_here"),
    [
        ("http://127.0.0.1:9000", True),
        ("http://localhost:9000", True),
        ("http://[::1]:9000", True),
        ("http://minio:9000", False),
        ("https://10.0.0.1", False),
        ("", False),
    ],
)
def test_proxy__of_the_environment_is_passed_by_on_this_machine(settings, endpoint, is_here):
    settings.S3_ENDPOINT_URL = endpoint

    assert S3ImageStorage().client_config.proxies == ({} if is_here else None)

"""Images in S3, with moto's server: stored, served, listed and removed there."""

import re
from base64 import b64encode
from datetime import timedelta
from functools import cache
from io import BytesIO, StringIO
from urllib.parse import parse_qs, urlsplit
from zipfile import ZipFile

import boto3
import httpx
import pytest
from botocore.config import Config
from django.conf import settings as django_settings
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.management import call_command
from django.test import Client
from moto.server import ThreadedMotoServer
from PIL import Image

from generations import tasks
from generations.images import files, formats, orphans, retention
from generations.models import Generation
from generations.status import Status
from generations.tests.support.encoded import PNG, encoded
from lockngen import health

pytestmark = pytest.mark.django_db

URL = "/api/v1/generations/{}/image"
BUCKET = "pictures"
PREFIX = "here"

shared_session = cache(boto3.Session)  # each test has a storage of its own, and creating a session takes 0.1 s


@pytest.fixture(scope="module")
def server():
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


@pytest.fixture(scope="module")
def client(server):
    """Another client of S3."""
    session = boto3.Session(aws_access_key_id="other", aws_secret_access_key="other", region_name="us-east-1")
    return session.client("s3", endpoint_url=server, config=Config(proxies={}, s3={"addressing_style": "path"}))


@pytest.fixture(autouse=True)
def bucket(server, client, settings, monkeypatch):
    """An empty bucket, and the settings that name it."""
    monkeypatch.setattr("boto3.Session", shared_session)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    client.create_bucket(Bucket=BUCKET)
    settings.S3_BUCKET, settings.S3_PREFIX = BUCKET, PREFIX
    settings.S3_ACCESS_KEY_ID, settings.S3_SECRET_ACCESS_KEY = "lockn", "secret"
    settings.S3_ENDPOINT_URL, settings.S3_ADDRESSING_STYLE = server, "path"
    settings.STORAGES = {**django_settings.STORAGES, "default": {"BACKEND": "lockngen.storage.s3.S3ImageStorage"}}
    yield
    for key in listed(client):
        client.delete_object(Bucket=BUCKET, Key=key)


def listed(client) -> set[str]:
    return {entry["Key"] for entry in client.list_objects_v2(Bucket=BUCKET).get("Contents", ())}


@pytest.fixture
def keys(client):
    """Returns the names in the bucket without their common prefix."""

    def keys() -> set[str]:
        found = listed(client)
        assert all(key.startswith(f"{PREFIX}/") for key in found)
        return {key.removeprefix(f"{PREFIX}/") for key in found}

    return keys


def fetch(address: str, method: str = "GET") -> httpx.Response:
    """Fetch without credentials."""
    return httpx.request(method, address, trust_env=False)


@pytest.mark.django_db(transaction=True)
def test_generation__is_rendered_stored_and_fetched(api, make_generation, make_context, keys):
    generation = make_generation(width=512, height=256)

    tasks.render(make_context(), str(generation.id))

    generation.refresh_from_db()
    assert (generation.status, generation.attempts) == (Status.COMPLETED, 1)
    assert keys() == set(files.paths(generation))
    shown = api.get(f"/api/v1/generations/{generation.id}").json()
    for url, kind, size in ((shown["image_url"], "PNG", (512, 256)), (shown["thumbnail_url"], "WEBP", (384, 192))):
        fetched = fetch(api.get(url)["Location"])
        with Image.open(BytesIO(fetched.content)) as image:
            assert (image.format, image.size) == (kind, size)
        assert fetched.headers["Content-Type"] == f"image/{kind.lower()}"


def test_image__is_a_redirect_that_expires_before_its_address(api, make_completed, server, settings):
    settings.S3_URL_LIFETIME = 120
    generation = make_completed()

    answer = api.get(URL.format(generation.id))

    signed = urlsplit(answer["Location"])
    assert answer.status_code == 302
    assert (f"{signed.scheme}://{signed.netloc}", signed.path) == (
        server,
        f"/{BUCKET}/{PREFIX}/{generation.image_path}",
    )
    assert parse_qs(signed.query)["X-Amz-Expires"] == ["120"]
    assert parse_qs(signed.query)["X-Amz-Algorithm"] == ["AWS4-HMAC-SHA256"]
    assert parse_qs(signed.query)["X-Amz-Credential"][0].startswith("lockn/")
    assert answer["Cache-Control"] == "private, max-age=60"
    assert answer["Vary"] == "Authorization, origin"
    assert "ETag" not in answer


def test_prediction__contains_its_image(api, make_completed):
    """Replicate's Python client follows no redirect."""
    shown = api.get(f"/v1/predictions/{make_completed().id}", secure=True).json()

    assert shown["output"] == [f"data:image/png;base64,{b64encode(PNG).decode()}"]


def test_zip_of_the_studio__is_read_from_the_bucket(key, make_completed):
    browser, images = Client(), [make_completed(), make_completed(encoded("JPEG"))]
    browser.post("/studio/sign-in", {"token": key.token})

    answer = browser.post("/studio/selection/images.zip", {"ids": ",".join(str(image.id) for image in images)})

    archive = ZipFile(BytesIO(answer.getvalue()))
    assert {archive.read(name) for name in archive.namelist()} == {PNG, encoded("JPEG")}


def test_image__has_the_same_headers_in_the_storage(api, make_completed):
    generation = make_completed()

    fetched = fetch(api.get(URL.format(generation.id))["Location"])

    assert fetched.content == PNG
    assert fetched.headers["Content-Type"] == "image/png"
    assert fetched.headers["Content-Disposition"] == "inline"
    assert fetched.headers["Cache-Control"] == "private, max-age=31536000, immutable"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_image__is_signed_for_the_method_of_the_request(api, make_completed, method):
    generation = make_completed()
    other = {"GET": "HEAD", "HEAD": "GET"}[method]

    address = api.generic(method, URL.format(generation.id))["Location"]

    assert fetch(address, method).headers["Content-Length"] == str(len(PNG))
    assert signature(address) != signature(api.generic(other, URL.format(generation.id))["Location"])


def signature(address: str) -> str:
    return parse_qs(urlsplit(address).query)["X-Amz-Signature"][0]


def test_image__is_signed_for_the_public_endpoint(api, make_completed, settings):
    settings.S3_PUBLIC_ENDPOINT_URL = "https://s3.example.org"
    generation = make_completed()

    answer = api.get(URL.format(generation.id))

    assert answer["Location"].startswith(f"https://s3.example.org/{BUCKET}/{PREFIX}/{generation.image_path}?")


@pytest.mark.parametrize(("size", "tag"), [("full", "{}"), ("thumb", "{}-thumb")])
def test_image__with_the_etag_of_the_client_is_a_304(api, make_completed, size, tag):
    generation = make_completed()
    headers = {"If-None-Match": f'"{tag.format(generation.image_sha256)}"'}

    answer = api.get(URL.format(generation.id), {"size": size}, headers=headers)

    assert (answer.status_code, answer.content) == (304, b"")


def test_missing_image__is_a_404(api, make_generation):
    assert api.get(URL.format(make_generation().id)).status_code == 404


def test_image__of_another_key_is_a_404(client_of, make_key, make_completed):
    assert client_of(make_key()).get(URL.format(make_completed().id)).status_code == 404


@pytest.mark.parametrize(("query", "column"), [("", "image_path"), ("?size=thumb", "thumbnail_path")])
def test_admin__is_redirected_as_well(admin_client, make_completed, query, column):
    generation = make_completed()

    answer = admin_client.get(f"/admin/generations/generation/{generation.id}/image/{query}")

    assert answer.status_code == 302
    assert getattr(generation, column) in answer["Location"]
    assert fetch(answer["Location"]).status_code == 200


def test_file__keeps_its_type_in_the_bucket(client, make_completed, monkeypatch):
    monkeypatch.setattr("mimetypes.guess_type", lambda name: (None, None))  # Python 3.11 may not know WebP
    generation = make_completed()

    types = [
        client.head_object(Bucket=BUCKET, Key=f"{PREFIX}/{path}")["ContentType"] for path in files.paths(generation)
    ]

    assert types == ["image/png", "image/webp"]


def test_delete_leftovers__removes_the_files_of_an_attempt(make_completed, keys):
    generation = make_completed()
    files.store(generation, 2, formats.read(PNG))

    files.delete_leftovers(generation, before=3)

    assert keys() == set(files.paths(generation))


def test_purge__removes_the_files(make_finished, keys, settings):
    settings.RETENTION_FINISHED = 30
    kept = make_finished(days=1)
    make_finished(days=31)

    (tally,) = retention.purge()

    assert (tally.generations, tally.files, tally.bytes, tally.failures) == (1, 2, 16, 0)
    assert keys() == set(files.paths(kept))


def test_purge__of_a_missing_image_succeeds(make_finished, settings):
    settings.RETENTION_FINISHED = 30
    default_storage.delete(make_finished(days=31).image_path)

    (tally,) = retention.purge()

    assert (tally.files, tally.failures) == (2, 0)
    assert not Generation.all_objects.exists()


def test_orphans__are_found_and_removed(make_completed, keys, monkeypatch):
    monkeypatch.setattr(orphans, "MIN_AGE", timedelta(0))
    generation = make_completed()
    lost = {"generations/2026/01/by hand.png", f"generations/2026/02/{generation.id}-7.png", ".health/web-1-17"}
    for path in lost:
        default_storage.save(path, ContentFile(b"bytes"))
    out = StringIO()

    call_command("purge", "--orphans", "--batch", "2", stdout=out, stderr=StringIO())

    assert set(out.getvalue().splitlines()) == lost
    assert keys() == set(files.paths(generation))


def test_scan__reads_the_listing_page_by_page(keys):
    for number in range(5):
        default_storage.save(f"generations/2026/{number}.png", ContentFile(b"bytes"))
    default_storage.save("generations/2026/01/1.png", ContentFile(b"bytes"))
    pages = []

    def limit_page(params, **_) -> dict:
        pages.append(params.get("ContinuationToken"))
        return {**params, "MaxKeys": 2}

    default_storage.connection.meta.client.meta.events.register("provide-client-params.s3.ListObjectsV2", limit_page)

    found = set(default_storage.scan("generations/2026"))

    assert found == {*((f"{number}.png", False) for number in range(5)), ("01", True)}
    assert len(pages) == 3


def test_health__writes_and_reads_in_the_bucket(keys):
    milliseconds, error = health._probe_storage.__wrapped__(0)

    assert (milliseconds > 0, error) == (True, "")
    assert keys() == set()


def test_health__names_the_error(settings):
    settings.S3_BUCKET = "no-such-bucket"
    settings.STORAGES = {**settings.STORAGES}

    _, error = health._probe_storage.__wrapped__(0)

    assert re.search(r"NoSuchBucket", error)


@pytest.mark.django_db(transaction=True)
def test_unavailable_bucket__does_not_count_as_an_attempt(make_generation, make_context, settings):
    settings.S3_BUCKET, settings.STORAGE_RETRY_TIMEOUT = "no-such-bucket", 0
    settings.STORAGES = {**settings.STORAGES}
    generation = make_generation(width=64, height=64)

    with pytest.raises(files.StorageUnavailable, match="NoSuchBucket"):
        tasks.render(make_context(), str(generation.id))

    generation.refresh_from_db()
    assert (generation.status, generation.counted_attempts) == (Status.PENDING, 0)

"""The health check of the storage."""

from io import BytesIO
from unittest.mock import Mock

import pytest
from django.core.files.storage import default_storage

from lockngen import health
from lockngen.tests.support.health import ready

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def fresh_probe():
    health._probe_storage.cache_clear()
    yield
    health._probe_storage.cache_clear()


@pytest.mark.usefixtures("fresh_probe")
@pytest.mark.parametrize("path", ["/ht/storage", "/ht/storage/"])
def test_storage__is_probed_with_a_file_that_is_removed(client, settings, image_folder, path):
    settings.DEBUG = True

    status, body = ready(client, path)

    assert (status, body["storage"]) == (200, "OK")
    assert body["figures"]["storage"]["probe_ms"] > 0
    assert [path for path in image_folder.rglob("*") if path.is_file()] == []


@pytest.mark.usefixtures("fresh_probe")
def test_storage__without_a_writable_folder_fails_while_the_web_is_ready(client, settings, image_folder):
    image_folder.write_text("a file where the folder should be")

    assert ready(client, "/ht/storage") == (500, {"storage": "Unavailable: see the log"})
    assert ready(client)[0] == 200

    settings.DEBUG = True
    assert "Not a directory" in ready(client, "/ht/storage")[1]["storage"]


@pytest.mark.usefixtures("fresh_probe")
def test_storage__that_returns_other_content_fails(client, settings, monkeypatch):
    settings.DEBUG = True
    monkeypatch.setattr(
        "lockngen.storage.filesystem.DurableFileSystemStorage.open", lambda self, name: BytesIO(b"other content")
    )

    status, body = ready(client, "/ht/storage")

    assert (status, body["storage"]) == (500, "Unavailable: the file read differs from the file written")


@pytest.mark.usefixtures("fresh_probe")
def test_storage__is_probed_once_in_half_a_minute(client, monkeypatch):
    saved = Mock(wraps=default_storage.save)
    monkeypatch.setattr("lockngen.storage.filesystem.DurableFileSystemStorage.save", saved)
    monkeypatch.setattr(health.time, "monotonic", lambda: now)

    for now in (3000, 3029, 3030, 3059):  # noqa: B007  the clock reads it
        assert ready(client, "/ht/storage")[0] == 200

    assert saved.call_count == 2

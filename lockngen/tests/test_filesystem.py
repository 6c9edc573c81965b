import os
from pathlib import Path

import pytest
from django.core.files.base import ContentFile, File
from django.core.files.storage import storages

from lockngen.storage.filesystem import DurableFileSystemStorage


@pytest.fixture
def storage(tmp_path):
    return DurableFileSystemStorage(location=tmp_path)


def test_save__writes_the_file_and_nothing_else(storage, tmp_path):
    name = storage.save("a/b.png", ContentFile(b"bytes"))

    assert name == "a/b.png"
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b.png"]
    assert (tmp_path / name).read_bytes() == b"bytes"


@pytest.mark.parametrize("modes", [{}, {"file_permissions_mode": 0o640, "directory_permissions_mode": 0o750}])
def test_save__gives_files_and_new_folders_their_modes_whatever_the_umask(tmp_path, settings, modes):
    configured = settings.STORAGES["default"]
    options = {**configured["OPTIONS"], "location": tmp_path / "images", **modes}
    storage = storages.create_storage({**configured, "OPTIONS": options})
    before = os.umask(0o027)
    try:
        storage.save("a/b.png", ContentFile(b"bytes"))
    finally:
        os.umask(before)

    paths = [tmp_path / "images/a/b.png", tmp_path / "images/a", tmp_path / "images"]
    expected = [0o640, 0o750, 0o750] if modes else [0o600, 0o700, 0o700]
    assert [path.stat().st_mode & 0o777 for path in paths] == expected


def test_save__replaces_a_file_of_the_same_name(storage, tmp_path):
    storage.save("a.png", ContentFile(b"first"))

    assert storage.save("a.png", ContentFile(b"second")) == "a.png"
    assert (tmp_path / "a.png").read_bytes() == b"second"


def test_save__is_on_the_disk_before_it_has_its_name(storage, tmp_path, monkeypatch):
    fsync, replace, done = os.fsync, os.replace, []

    def note_sync(descriptor):
        status = os.fstat(descriptor)
        done.append((status.st_ino, status.st_size))
        fsync(descriptor)

    def note_rename(partial, path):
        done.append((Path(partial).parent, path))
        replace(partial, path)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(os, "replace", note_rename)

    storage.save("a/b/c.png", ContentFile(b"bytes"))

    file, folder = tmp_path / "a/b/c.png", tmp_path / "a/b"
    assert done[:2] == [(file.stat().st_ino, 5), (folder, file)]
    assert {inode for inode, _ in done[2:]} == {path.stat().st_ino for path in (folder, folder.parent, tmp_path)}


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_save__leaves_the_old_file_when_it_fails(storage, tmp_path, error):
    class Broken(File):
        def chunks(self, chunk_size=None):
            yield b"half"
            raise error("the source went away")

    storage.save("a.png", ContentFile(b"old"))

    with pytest.raises(error, match="went away"):
        storage.save("a.png", Broken(None))

    assert (tmp_path / "a.png").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_save__stays_in_its_folder(storage):
    with pytest.raises(Exception, match="path traversal"):
        storage.save("../a.png", ContentFile(b"x"))

import os
from pathlib import Path

import pytest
from django.core.files.base import ContentFile, File

from lockngen.storage import DurableFileSystemStorage


@pytest.fixture
def storage(tmp_path):
    return DurableFileSystemStorage(location=tmp_path)


def test_save__writes_the_file_and_nothing_else(storage, tmp_path):
    name = storage.save("a/b.png", ContentFile(b"bytes"))

    assert name == "a/b.png"
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b.png"]
    assert (tmp_path / name).read_bytes() == b"bytes"
    assert (tmp_path / name).stat().st_mode & 0o777 == 0o644  # a web of another user reads what a worker wrote


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
def test_save__leaves_the_old_file_when_it_breaks_off(storage, tmp_path, error):
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

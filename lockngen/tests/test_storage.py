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


def test_save__replaces_a_file_of_the_same_name(storage, tmp_path):
    storage.save("a.png", ContentFile(b"first"))

    assert storage.save("a.png", ContentFile(b"second")) == "a.png"
    assert (tmp_path / "a.png").read_bytes() == b"second"


def test_save__leaves_the_old_file_when_it_breaks_off(storage, tmp_path):
    class Broken(File):
        def chunks(self, chunk_size=None):
            yield b"half"
            raise OSError("the source went away")

    storage.save("a.png", ContentFile(b"old"))

    with pytest.raises(OSError, match="went away"):
        storage.save("a.png", Broken(None))

    assert (tmp_path / "a.png").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_save__stays_in_its_folder(storage):
    with pytest.raises(Exception, match="path traversal"):
        storage.save("../a.png", ContentFile(b"x"))

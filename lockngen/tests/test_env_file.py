"""`.env` files as people and their editors write them."""

import pytest

from lockngen import env_file


@pytest.fixture
def load(tmp_path, monkeypatch):
    """What a file with this content sets."""
    variables = {}
    monkeypatch.setattr(env_file.environ.Env, "ENVIRON", variables)

    def load(content: bytes) -> dict[str, str]:
        (tmp_path / ".env").write_bytes(content)
        env_file.load(tmp_path / ".env")
        return variables

    return load


def test_load__file_of_a_windows_editor(load):
    content = (
        b"\xef\xbb\xbfSECRET_KEY=not-a-secret\r\nDEBUG=off\r\nPORT = 8001\r\nWEB_THREADS=4 # four\r\n"
        b'DATABASE_URL="postgres://lockn:hunter2@db/lockngen"\r\n'
    )

    assert load(content) == {
        "SECRET_KEY": "not-a-secret",
        "DEBUG": "off",
        "PORT": "8001",
        "WEB_THREADS": "4",
        "DATABASE_URL": "postgres://lockn:hunter2@db/lockngen",
    }


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("X=hun#ter2", "hun#ter2"),
        ("X=#5", "#5"),
        ("X= # comment", ""),
        ("X=", ""),
        ("export X=1", "1"),
        ("  X =  a b  ", "a b"),
        ("X=a # b # c", "a"),
        ("X='a # b'  # c", "a # b"),
        ('X="a # b"# c', "a # b"),
        ('X="a \\" b"', 'a " b'),
        ("X=it's", "it's"),
        ("X=a=b", "a=b"),
        ("X=$HOME", "$HOME"),
    ],
)
def test_load__line(load, line, value):
    assert load(f"# comment\n\n{line}\n".encode()) == {"X": value}


def test_load__environment_wins(load):
    env_file.environ.Env.ENVIRON["PORT"] = "9000"

    assert load(b"PORT=8001") == {"PORT": "9000"}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"A=1\nSECRET_KEY hunter2", "line 2 can't be read: it takes NAME=value"),
        (b"SECRET_KEY: hunter2", "line 1 can't be read"),
        (b"1KEY=hunter2", "line 1 can't be read"),
        (b'SECRET_KEY="hunter2', "line 1: the quotes around the value of SECRET_KEY"),
        (b"SECRET_KEY='hunter2' hunter2", "line 1: the quotes around the value of SECRET_KEY"),
        ("SECRET_KEY=hunter2".encode("utf-16"), "is not UTF-8: save it with that encoding"),
    ],
)
def test_load__refusal_is_one_line_without_the_value(load, caplog, content, reason):
    with pytest.raises(env_file.EnvFileError, match=reason) as caught:
        load(content)

    assert "hunter2" not in str(caught.value)
    assert caplog.text == ""

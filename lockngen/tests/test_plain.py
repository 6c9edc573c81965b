import pytest

from lockngen.plain import one_line, plain, plain_values


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("KSampler: größer 像", "KSampler: größer 像"),
        ("\x1b[31mred\x1b[0m", "[31mred [0m"),
        ("two\r\nlines\x00\x07", "two lines"),
        ("a\u202eb\u2028c\ud800d\x9be", "a b c d e"),
        ("", ""),
        (ValueError("no\troute"), "no route"),
    ],
)
def test_plain__is_one_line_without_control_characters(text, safe):
    assert plain(text) == safe


def test_plain__is_cut():
    assert plain("x" * 5000, 200) == "x" * 200


def test_plain_values__reaches_every_text():
    assert plain_values({"a\n": ["\x1bb", 3, {"c": None}]}) == {"a": ["b", 3, {"c": None}]}


@pytest.mark.parametrize(("error", "line"), [(OSError("no\n route"), "no route"), (TimeoutError(), "TimeoutError")])
def test_one_line__is_the_message_or_the_class(error, line):
    assert one_line(error) == line

"""Reads a `.env` file as Docker Compose does: a byte order mark, spaces around `=`, quotes and comments are accepted.

A line that can't be read is refused by its number. Its text may hold a secret, so no message contains it.
"""

import io
import re
from pathlib import Path

import environ

LINE = re.compile(r"\s*(?:export\s+)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)\s*=\s*(?P<value>.*?)\s*")
COMMENT = re.compile(r"\s*(?:#.*)?")
QUOTED = re.compile(r"""(?P<value>"(?:[^"\\]|\\.)*"|'[^']*')\s*(?:#.*)?""")
UNQUOTED = re.compile(r"""(?P<value>(?!["'])(?:\S|\s(?!\s*#))*?)(?:\s+#.*)?""")


class EnvFileError(ValueError):
    """A file that can't be read, with the remedy in one line."""


def load(path: Path) -> None:
    """Set the variables of the file that the environment does not set."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return
    except OSError as error:
        raise EnvFileError(f"{path} can't be read: {error.strerror}. Change its owner or remove it.") from None
    except UnicodeDecodeError:
        raise EnvFileError(f"{path} is not UTF-8: save it with that encoding.") from None
    lines = [_cleaned(line, f"{path}, line {number}") for number, line in enumerate(text.splitlines(), 1)]
    environ.Env.read_env(io.StringIO("\n".join(lines)))


def _cleaned(line: str, where: str) -> str:
    """The line in the one form that django-environ reads: NAME=value."""
    if COMMENT.fullmatch(line):
        return ""
    assignment = LINE.fullmatch(line)
    if assignment is None or "\0" in line:
        raise EnvFileError(f"{where} can't be read: it takes NAME=value.")
    value = "" if assignment["value"].startswith("#") and _has_space_before_value(line) else assignment["value"]
    found = QUOTED.fullmatch(value) or UNQUOTED.fullmatch(value)
    if found is None:
        raise EnvFileError(f"{where}: the quotes around the value of {assignment['name']} do not match.")
    return f"{assignment['name']}={found['value']}"


def _has_space_before_value(line: str) -> bool:
    return line.partition("=")[2][:1].isspace()

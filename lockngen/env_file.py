"""Reads a `.env` file as Docker Compose does: a byte order mark, spaces around `=`, quotes and comments are accepted.

django-environ skips such lines and logs them. Here an unreadable line is an error with its number, without its text,
which may hold a secret.
"""

import io
import re
from pathlib import Path

import environ

COMMENT = re.compile(r"\s*(?:#.*)?")
ASSIGNMENT = re.compile(r"\s*(?:export\s+)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)\s*=\s*")
# A comment follows whitespace or a quoted value.
VALUE = re.compile(
    r"""(?P<quoted>"(?:[^"\\]|\\.)*"|'[^']*')\s*(?:\#.*)?"""
    r"""|(?P<unquoted>(?!["'])(?:[^\#]|(?<!\s)\#)*?)\s*(?:(?<=\s)\#.*)?"""
)


class EnvFileError(SystemExit):
    """The file can't be read. Ends the process with the remedy in one line."""


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
    lines = [_normalized(line, f"{path}, line {number}") for number, line in enumerate(text.splitlines(), 1)]
    environ.Env.read_env(io.StringIO("\n".join(lines)))


def _normalized(line: str, where: str) -> str:
    """The line in the form that django-environ reads, NAME=value, or an empty line for a comment."""
    if COMMENT.fullmatch(line):
        return ""
    assignment = ASSIGNMENT.match(line)
    if assignment is None or "\0" in line:
        raise EnvFileError(f"{where} can't be read: it takes NAME=value.")
    value = VALUE.fullmatch(line, assignment.end())
    if value is None:
        raise EnvFileError(f"{where}: the quotes around the value of {assignment['name']} do not match.")
    return f"{assignment['name']}={value['quoted'] or value['unquoted']}"

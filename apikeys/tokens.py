"""The format of a token: a kind (`lg_live_`, `lg_test_`), a secret and a checksum, both in base62.

The secret is 43 characters that hold 256 random bits, the checksum 6 that hold a CRC32 of all before it.

By its checksum, a mistyped token is detected without a database, and a leaked one by a secret scanner. Because of the
underscores, a double click selects the whole token. Standard library only.
"""

import hashlib
import re
import secrets
import string
import zlib

LIVE, TEST = "lg_live_", "lg_test_"
SECRET_LENGTH, CHECKSUM_LENGTH = 43, 6  # 62**43 > 2**256, 62**6 > 2**32
VISIBLE_LENGTH = len(LIVE) + 6  # what may be shown: 6 characters of the secret distinguish keys and reveal none

ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
_START = re.compile(r"(lg_(?:live|test)_[0-9A-Za-z]{6})[0-9A-Za-z]+")
# A percent-encoded character of a token, encoded once or several times.
_ENCODED = re.compile(r"%(?:25)*(3[0-9]|[46][1-9A-Fa-f]|5[0-9AaFf]|7[0-9Aa])")
_WORD = re.compile(rf"(?:{_ENCODED.pattern}|\w)+", re.ASCII)
_FORMAT = re.compile(rf"(lg_live_|lg_test_)[0-9A-Za-z]{{{SECRET_LENGTH + CHECKSUM_LENGTH}}}", re.ASCII)


def make(kind: str = LIVE) -> str:
    """A new token of 256 random bits."""
    return sign(kind + _base62(secrets.randbits(256), SECRET_LENGTH))


def sign(body: str) -> str:
    """A token's body (kind and secret) with its checksum."""
    return body + _base62(zlib.crc32(body.encode("ascii")), CHECKSUM_LENGTH)


def is_valid(token: str) -> bool:
    """Whether a text has the form of a token and its checksum is right. There may be no such key."""
    return bool(_FORMAT.fullmatch(token)) and sign(token[:-CHECKSUM_LENGTH]) == token


def is_in(text: str) -> bool:
    """Whether a text contains a token, or more of one than may be shown."""
    return bool(_START.search(_decoded(text)))


def redacted(text: str) -> str:
    """The text with each token truncated to what may be shown."""
    if "%" in text:
        text = _WORD.sub(lambda word: _decoded(word[0]) if is_in(word[0]) else word[0], text)
    return _START.sub(r"\1…", text)


def is_test(token: str) -> bool:
    return token.startswith(TEST)


def digest(token: str) -> str:
    """The SHA-256 of a token in 64 hex digits, which is stored. 256 random bits need no slow hash."""
    return hashlib.sha256(token.encode("ascii")).hexdigest()


def visible(token: str) -> str:
    """The start of a token, which identifies it to people."""
    return token[:VISIBLE_LENGTH]


def _decoded(text: str) -> str:
    return _ENCODED.sub(lambda match: chr(int(match[1], 16)), text)


def _base62(number: int, length: int) -> str:
    characters = []
    for _ in range(length):
        number, remainder = divmod(number, len(ALPHABET))
        characters.append(ALPHABET[remainder])
    return "".join(reversed(characters))

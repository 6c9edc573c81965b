import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apikeys import tokens

CHARACTERS = string.ascii_letters + string.digits + "_- \n\x00é"


@pytest.mark.parametrize("kind", [tokens.LIVE, tokens.TEST])
def test_make__has_the_documented_form(kind):
    token = tokens.make(kind)

    assert token.startswith(kind)
    assert len(token) == len(kind) + 43 + 6
    assert tokens.is_valid(token)


def test_make__never_repeats():
    assert len({tokens.make() for _ in range(1000)}) == 1000


def test_make__uses_every_position_of_the_secret():
    made = [tokens.make() for _ in range(200)]

    start = len(tokens.LIVE)
    assert all(len({token[place] for token in made}) > 20 for place in range(start, start + tokens.SECRET_LENGTH))


def test_sign__is_a_crc32_in_base62():
    # The CRC32 of these bytes is 635237136, which is 42:61:24:12:16 to the base of 62.
    assert tokens.sign("lg_test_" + "0" * 43)[-6:] == "0gzOCG"


@given(position=st.integers(0, 56), character=st.sampled_from(CHARACTERS))
def test_is_valid__refuses_every_changed_character(position, character):
    token = tokens.make()
    changed = token[:position] + character + token[position + 1 :]

    assert tokens.is_valid(changed) == (changed == token)


@given(st.text())
def test_is_valid__refuses_any_other_text(text):
    assert not tokens.is_valid(text)


@pytest.mark.parametrize("extra", ["\n", " ", "x", "é"])
def test_is_valid__refuses_appended_characters(extra):
    assert not tokens.is_valid(tokens.make() + extra)


def test_is_valid__refuses_a_longer_one_with_its_own_checksum():
    assert not tokens.is_valid(tokens.sign(tokens.make()))


def test_digest__is_sha256_in_hex():
    # From FIPS 180-2, appendix B.1.
    assert tokens.digest("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_visible__shows_little_of_the_secret():
    token = tokens.make()

    assert token.startswith(tokens.visible(token))
    assert len(tokens.visible(token)) - len(tokens.LIVE) == 6


@pytest.mark.parametrize("times", [1, 2, 3])
@pytest.mark.parametrize("characters", ["_", "l", "lg_live_", tokens.ALPHABET + "_"])
def test_redacted__finds_a_percent_encoded_token(characters, times):
    token = tokens.make()
    percent = "%" + "25" * (times - 1)
    encoded = "".join(f"{percent}{ord(c):02X}" if c in characters else c for c in token)

    assert tokens.is_in(f"/a%20b/{encoded}?x=%0A")
    assert tokens.redacted(f"/a%20b/{encoded}?x=%0A") == f"/a%20b/{tokens.visible(token)}…?x=%0A"


@pytest.mark.parametrize("text", ["/100%25", "%0d%0aGET", "%6c%67", "%", "%2", "100% sure"])
def test_redacted__keeps_other_text(text):
    assert tokens.redacted(text) == text

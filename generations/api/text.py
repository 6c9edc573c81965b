"""Rules for texts that clients send. Standard library only."""

import re
import unicodedata

# Control, format and space characters.
INVISIBLE = {"Cc", "Cf", "Zs", "Zl", "Zp"}
# Invisible characters of other categories: joiners, fillers, variation selectors and the blank Braille pattern.
_BLANK = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]")


def is_blank(text: str) -> bool:
    """Whether a text has no visible character."""
    return all(unicodedata.category(character) in INVISIBLE for character in _BLANK.sub("", text))

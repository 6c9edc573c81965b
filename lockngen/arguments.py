"""Types of the arguments of commands."""

from argparse import ArgumentTypeError


def positive(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) == 0:
        raise ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)

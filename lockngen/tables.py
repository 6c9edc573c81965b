"""Tables of plain text for the output of commands."""

from collections.abc import Iterable, Sequence


def table(rows: Iterable[Sequence]) -> list[str]:
    """Lines of columns as wide as their content. Below the first row, a column of integers is right-aligned."""
    columns = [_column(*cells) for cells in zip(*rows, strict=True)]
    return ["  ".join(cells).rstrip() for cells in zip(*columns, strict=True)]


def _column(head: object, *cells: object) -> list[str]:
    are_integers = cells and all(type(cell) is int for cell in cells)
    texts = [str(head), *(f"{cell:,}" if are_integers else str(cell) for cell in cells)]
    width = max(map(len, texts))
    return [text.rjust(width) if are_integers else text.ljust(width) for text in texts]

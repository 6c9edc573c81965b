"""Tables of the commands."""

from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence]) -> list[str]:
    """The lines of a table. Columns are as wide as their content; those of whole numbers are right-aligned."""
    columns = [_column(*cells) for cells in zip(head, *rows, strict=True)]
    return ["  ".join(cells).rstrip() for cells in zip(*columns, strict=True)]


def _column(title: str, *cells) -> list[str]:
    are_numbers = cells and all(isinstance(cell, int) for cell in cells)
    texts = [title, *(f"{cell:,}" if are_numbers else str(cell) for cell in cells)]
    width = max(map(len, texts))
    return [text.rjust(width) if are_numbers else text.ljust(width) for text in texts]

"""How facts are laid out for people to read."""

from collections.abc import Iterator, Sequence


def tabulated(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yields the lines of a table, its columns as wide as their widest word.

    >>> print("\\n".join(tabulated(["name", "size"], [["a long name", "2 kB"], ["b", "1 B"]])))
    name         size
    a long name  2 kB
    b            1 B
    """
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    for line in (columns, *cells):
        yield "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()


def size(count: int) -> str:
    """Bytes as people read them: 2.13 GB."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{count / factor:.2f} {unit}"
    return f"{count} B"

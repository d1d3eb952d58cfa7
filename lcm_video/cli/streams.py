"""What is done with an output that takes nothing any more."""

import os
from contextlib import suppress
from typing import IO


def silence(stream: IO[str]) -> None:
    """Lets what is written from now on, and what is still to be flushed, go nowhere instead of failing again."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())

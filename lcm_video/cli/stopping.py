"""What Ctrl-C and SIGTERM do to a render: it stops where it can go on, and says how.

The first Ctrl-C lets the present window be finished and kept, the second ends the process at once. SIGTERM is like the
first, but has a limit: whatever is going on, the process is gone before whoever sent it loses patience. Only the
command line does this; the library installs no handlers.
"""

import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from lcm_video.errors import Interrupted

PATIENCE = 8.0
"""Seconds after SIGTERM until the process ends, finished or not: systems kill after ten."""

SHOW_CURSOR = "\x1b[?25h"


class Stop(threading.Event):
    """Set when a render should stop; ``exit_code`` is 130 after Ctrl-C, 143 after SIGTERM.

    Where there is nothing to keep, as while a model is loaded, the signal raises KeyboardInterrupt at once, which no
    loader takes for a damaged file, and which leaves here as Interrupted. Within `gently` it is only noted, and whoever
    works there looks at it between two pieces of work.
    """

    def __init__(self) -> None:
        super().__init__()
        self.exit_code = 130
        self.waits = False

    def ask(self, number: int) -> None:
        """Notes that the signal ``number`` came."""
        self.exit_code = 128 + number
        self.set()

    def check(self) -> None:
        """Raises Interrupted if a signal came."""
        if self.is_set():
            raise Interrupted("interrupted", exit_code=self.exit_code)

    @contextmanager
    def gently(self, waits: bool = True) -> Iterator[None]:
        """Within, a signal is noted and not raised; with ``waits`` off, raised again."""
        before, self.waits = self.waits, waits
        try:
            if not waits:
                self.check()
            with self.explained():
                yield
        finally:
            self.waits = before

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Within, a KeyboardInterrupt that a signal raised becomes Interrupted."""
        try:
            yield
        except KeyboardInterrupt as error:
            stopped = Interrupted("interrupted", exit_code=self.exit_code)
            for note in getattr(error, "__notes__", ()):
                stopped.add_note(note)
            raise stopped from None


@contextmanager
def stopping() -> Iterator[Stop]:
    """Catches SIGINT and SIGTERM while a render runs. Outside the main thread signals stay as they are."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    with stop.explained(), _caught(stop):
        yield stop


@contextmanager
def _caught(stop: Stop) -> Iterator[None]:
    """Tells ``stop`` of signals."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    watcher = threading.Thread(target=_watch, args=(stop, reading), name="signals", daemon=True)
    watcher.start()
    before_wakeup = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    before = {number: signal.signal(number, _raising(stop)) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(before_wakeup)
        os.close(writing)
        watcher.join()
        os.close(reading)


def _raising(stop: Stop) -> Callable[[int, FrameType | None], None]:
    """A handler for the main thread. It runs between two operations; what must not wait for that, `_watch` does."""

    def handle(number: int, frame: FrameType | None) -> None:
        stop.ask(number)
        if not stop.waits:
            raise KeyboardInterrupt

    return handle


def _watch(stop: Stop, reading: int) -> None:
    """Reads signals as they arrive, even while the main thread is in the middle of one long operation."""
    interrupted, patience = 0, None
    while select.select([reading], [], [], patience)[0]:
        if not (arrived := os.read(reading, 16)):
            return  # the render is over
        for number in arrived:
            if number not in (signal.SIGINT, signal.SIGTERM):
                continue
            stop.ask(number)
            interrupted += number == signal.SIGINT
            if interrupted > 1:
                leave(stop.exit_code)
            if number == signal.SIGTERM:
                patience = PATIENCE
    leave(stop.exit_code)


def leave(code: int) -> None:
    """Ends the process now. What was kept until now is kept: the next run goes on from there."""
    with suppress(OSError, ValueError):
        cursor = SHOW_CURSOR if os.isatty(2) else ""
        os.write(2, f"{cursor}\nstopped at once → run the same command again: it goes on from what was kept\n".encode())
    with suppress(OSError, ValueError):
        sys.stdout.flush()
    os._exit(code)

"""Encodes on a thread of its own, so that the next frame is drawn while this one is compressed.

FFmpeg and Pillow let other threads run while they work; so the two overlap in spite of Python's lock.
"""

import time
from collections.abc import Callable
from queue import Queue
from threading import Thread

from lcm_video.types import Frame

AHEAD = 4
"""Frames that may wait for the encoder: few, so that they do not pile up where drawing is faster."""


class EncoderThread:
    """Gives frames to ``encode`` one by one, in order, on a thread of its own.

    The thread takes frames until it is told that there are no more, whatever happens to them: so nobody who hands one
    over waits for ever. What ``encode`` raises is raised again where the next frame is handed over.

    seconds: how long the thread was at work
    waited: how long the frames' producer had to wait for it, in seconds
    """

    def __init__(self, encode: Callable[[Frame], None]) -> None:
        self.encode = encode
        self.seconds = self.waited = 0.0
        self._frames: Queue[Frame | None] = Queue(AHEAD)
        self._error: BaseException | None = None
        self._dropping = False
        # Should everything else be over, a frame that is still being encoded is of no use.
        self._thread = Thread(target=self._run, name="encoder", daemon=True)
        self._thread.start()

    def add(self, frame: Frame) -> None:
        """Hands the next frame over, once there is room for it. Raises what the thread has met."""
        self._complain()
        began = time.perf_counter()
        self._frames.put(frame.copy())  # the producer may draw its next one into the same memory
        self.waited += time.perf_counter() - began

    def finish(self) -> None:
        """Returns when all frames are encoded. Raises what the thread has met."""
        self.drain()
        self._complain()

    def drain(self) -> None:
        """Returns when all frames are encoded, or the first one that could not be has stopped that."""
        if self._thread.is_alive():
            self._frames.put(None)
            self._thread.join()

    def abandon(self) -> None:
        """Stops after the frame that is being encoded; those that wait are dropped."""
        self._dropping = True
        self.drain()

    def _complain(self) -> None:
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        while (frame := self._frames.get()) is not None:
            if self._error is None and not self._dropping:
                began = time.perf_counter()
                try:
                    self.encode(frame)
                except BaseException as error:  # whatever it is, the producer must hear of it
                    self._error = error
                self.seconds += time.perf_counter() - began

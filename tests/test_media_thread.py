"""Encoding on a thread of its own: in order, never far behind, never in the way of what stops a film."""

import threading
import time
from fractions import Fraction

import numpy as np
import pytest

from lcm_video.errors import EncodeError, LcmVideoError, ResourceError
from lcm_video.media import Output, Written, read_frames, write
from lcm_video.media.encoder_thread import AHEAD, EncoderThread
from lcm_video.media.encoders import ENCODERS
from lcm_video.media.stills import FramesSink

FPS = Fraction(8)


@pytest.fixture(autouse=True)
def no_thread_stays():
    before = threading.active_count()
    yield
    assert threading.active_count() == before


@pytest.fixture
def sink(monkeypatch):
    """Lets a test say what happens to each frame of a PNG film before it is written."""

    def use(before):
        class Watched(FramesSink):
            def add(self, frame):
                before(self.count)
                super().add(frame)

        monkeypatch.setitem(ENCODERS, "png", Watched)

    return use


def frames(count=12):
    return (np.full((16, 16, 3), number, np.uint8) for number in range(count))


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def film(tmp_path):
    return Output(path=str(tmp_path / "film.png"))


def test_frames_are_encoded_in_order_on_another_thread(tmp_path, sink):
    seen = []
    sink(lambda number: seen.append((number, threading.current_thread() is threading.main_thread())))
    (path,) = write(frames(), film(tmp_path), fps=FPS)
    assert seen == [(number, False) for number in range(12)]
    assert [frame.flat[0] for frame in read_frames(path)] == [*range(12)]


def test_the_producer_may_draw_every_frame_into_the_same_memory(tmp_path, sink):
    sink(lambda number: time.sleep(0.002))

    def drawn():
        canvas = np.zeros((16, 16, 3), np.uint8)
        for number in range(12):
            canvas[:] = number
            yield canvas

    (path,) = write(drawn(), film(tmp_path), fps=FPS)
    assert [frame.flat[0] for frame in read_frames(path)] == [*range(12)]


def test_drawing_goes_on_while_a_frame_is_encoded_but_not_far(tmp_path, sink):
    """The encoder stops at frame 0 until the producer has come as far as it may."""
    reached, gate = [], threading.Event()

    def hold(number):
        if number == 0:
            assert gate.wait(5)
            time.sleep(0.1)  # a producer that need not wait would now run away
            ahead.append(len(reached))

    ahead = []
    sink(hold)

    def drawn():
        for frame in frames(30):
            reached.append(1)
            if len(reached) == AHEAD:
                gate.set()
            yield frame

    write(drawn(), film(tmp_path), fps=FPS)
    # One is being encoded, as many wait as may, one is in the producer's hand.
    assert AHEAD <= ahead[0] <= AHEAD + 2


def test_what_the_threads_did_is_told(tmp_path, sink):
    sink(lambda number: time.sleep(0.01))
    written = write(frames(), film(tmp_path), fps=FPS)
    assert isinstance(written, Written)
    assert written.encoding >= 12 * 0.01
    assert written.waiting > 0, "twelve frames do not fit into the queue"


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (OSError(28, "No space left on device"), ResourceError),
        (OSError(30, "Read-only file system"), ResourceError),
        (RuntimeError("a bug"), RuntimeError),
        (MemoryError(), MemoryError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
)
def test_what_the_encoder_raises_stops_the_producer_at_the_next_frame(tmp_path, sink, raised, told):
    handed, closed, failed = [], [], threading.Event()

    def fail(number):
        if number == 2:
            failed.set()
            raise raised

    def drawn():
        try:
            for frame in frames(50):
                handed.append(1)
                yield frame
                if len(handed) == 3:
                    failed.wait(5)
                    time.sleep(0.05)
        finally:
            closed.append(True)

    sink(fail)
    with pytest.raises(told) as caught:
        write(drawn(), film(tmp_path), fps=FPS)
    assert len(handed) <= 4
    assert closed
    if issubclass(told, LcmVideoError):
        assert caught.value.__cause__ is raised
    assert names(tmp_path) == [] or told is KeyboardInterrupt, "no final file, nothing hidden"
    assert not (tmp_path / "film").exists()


def test_an_encoder_that_fails_at_the_last_frame_is_heard(tmp_path, sink):
    def fail(number):
        if number == 11:
            raise OSError(28, "No space left on device")

    sink(fail)
    with pytest.raises(ResourceError, match="No space left"):
        write(frames(), film(tmp_path), fps=FPS)
    assert names(tmp_path) == []


def test_a_producer_with_a_full_queue_does_not_wait_for_a_dead_encoder(tmp_path, sink):
    """The encoder fails while the producer is stuck at a full queue."""

    def fail(number):
        time.sleep(0.1)  # the queue fills
        raise OSError(5, "Input/output error")

    sink(fail)
    done = []

    def render():
        with pytest.raises(ResourceError):
            write(frames(100), film(tmp_path), fps=FPS)
        done.append(True)

    thread = threading.Thread(target=render, daemon=True)
    thread.start()
    thread.join(10)
    assert done


@pytest.mark.parametrize("error", [ZeroDivisionError, SystemExit, GeneratorExit])
def test_a_producer_that_fails_stops_the_encoder_with_frames_still_waiting(tmp_path, sink, error):
    encoded = []

    def slowly(number):
        encoded.append(number)
        time.sleep(0.05)

    def drawn():
        yield from frames(4)
        raise error

    sink(slowly)
    with pytest.raises(error):
        write(drawn(), film(tmp_path), fps=FPS)
    assert len(encoded) < 4, "those that waited are dropped"
    assert names(tmp_path) == []


def test_a_frame_of_another_size_stops_both_sides(tmp_path):
    def drawn():
        yield from frames(3)
        yield np.zeros((8, 8, 3), np.uint8)

    with pytest.raises(EncodeError, match="frame 3 is 8×8"):
        write(drawn(), film(tmp_path), fps=FPS)
    assert names(tmp_path) == []


def test_the_thread_may_be_ended_twice_and_in_any_state():
    thread = EncoderThread(lambda frame: None)
    thread.add(np.zeros((2, 2, 3), np.uint8))
    thread.finish()
    thread.abandon()
    thread.drain()
    thread.finish()

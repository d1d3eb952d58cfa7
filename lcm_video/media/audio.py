"""Sound under a film: trimmed, repeated or padded to exactly the film's length, then AAC or Opus."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer, OutputContainer
from av.packet import Packet

from lcm_video.errors import InputError
from lcm_video.media.opening import open_media, open_regular, sniff
from lcm_video.media.output import Audio

RATE = 48_000
BIT_RATE = 192_000
ENCODERS = {"aac": "aac", "opus": "libopus"}


class Track:
    """A sound stream of ``length`` seconds, whatever its source holds.

    A source that cannot be decoded to its end gives silence from there on, and a sentence in ``trouble``: a picture
    must never be lost to its sound.
    """

    def __init__(self, options: Audio, container: OutputContainer, *, codec: str, length: Fraction) -> None:
        self.options, self.trouble = options, ""
        self.samples = round(length * RATE)
        stream = container.add_stream(ENCODERS[codec], rate=RATE, layout="stereo")
        assert isinstance(stream, av.AudioStream)
        self.stream = stream
        self.context = self.stream.codec_context
        self.context.bit_rate = BIT_RATE
        self.context.format = "fltp" if codec == "aac" else "flt"
        self.context.time_base = Fraction(1, RATE)
        self.context.open()

    def packets(self) -> Iterator[Packet]:
        """Encoded sound in order of time."""
        size = self.context.frame_size or 1024
        done = 0
        for block in _blocks(self._fitted(), size):
            yield from self.stream.encode(self._frame(self._shaped(block, done), done))
            done += block.shape[1]
        yield from self.stream.encode(None)

    def _fitted(self) -> Iterator[np.ndarray]:
        """The source's samples, (2, n) at a time, then silence: `samples` in all."""
        left = self.samples
        for block in self._source():
            yield block[:, :left]
            left -= min(left, block.shape[1])
            if not left:
                return
        while left:
            size = min(left, RATE)
            yield np.zeros((2, size), np.float32)
            left -= size

    def _source(self) -> Iterator[np.ndarray]:
        """Samples from `start` on, again and again where they repeat."""
        try:
            heard = True
            while heard:
                heard = False
                for block in samples(self.options.source, start=self.options.start):
                    heard = True
                    yield block
                if not self.options.loop:
                    return
        except InputError as error:
            self.trouble = f"the sound is incomplete: {error.message}"

    def _shaped(self, block: np.ndarray, done: int) -> np.ndarray:
        """The block with its volume and the fades at both ends of the film."""
        fade = min(round(self.options.fade * RATE), self.samples // 2)
        gain = np.full(block.shape[1], self.options.volume, np.float32)
        if fade:
            place = np.arange(done, done + block.shape[1])
            gain *= np.clip(np.minimum(place, self.samples - 1 - place) / fade, 0, 1).astype(np.float32)
        return np.clip(block * gain, -1, 1)

    def _frame(self, block: np.ndarray, done: int) -> av.AudioFrame:
        packed = self.context.format.is_packed
        data = block.T.reshape(1, -1) if packed else block
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(data), format=self.context.format.name, layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = RATE, done, Fraction(1, RATE)
        return frame


def samples(path: str | Path, *, start: float = 0.0) -> Iterator[np.ndarray]:
    """Stereo samples at 48 kHz from ``start`` seconds on, (2, n) at a time. Raises InputError where decoding fails."""
    skip = round(start * RATE)
    with open_regular(Path(path)) as file, open_media(file, sniff(file)) as container:
        for block in _resampled(container, path):
            if skip < block.shape[1]:
                yield block[:, skip:]
            skip -= min(skip, block.shape[1])


def check(options: Audio) -> None:
    """Raises InputError unless the source opens, holds sound, and its first samples decode."""
    if next(samples(options.source, start=options.start), None) is None:
        raise InputError(
            f"{options.source}: no sound after {options.start:g} s", remedy="set audio.start below the source's length"
        )


def _resampled(container: InputContainer, path: str | Path) -> Iterator[np.ndarray]:
    if not container.streams.audio:
        raise InputError(f"{path} holds no sound", remedy="give a file with an audio track")
    resampler = av.AudioResampler(format="fltp", layout="stereo", rate=RATE)
    for frame in container.decode(audio=0):
        frame.pts = None  # the resampler would fill gaps and refuse steps backwards
        for part in resampler.resample(frame):
            yield part.to_ndarray()
    for part in resampler.resample(None):
        yield part.to_ndarray()


def _blocks(parts: Iterator[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """The same samples in blocks of ``size``; the last may be shorter."""
    held = np.zeros((2, 0), np.float32)
    for part in parts:
        held = np.concatenate([held, part], axis=1)
        while held.shape[1] >= size:
            yield held[:, :size]
            held = held[:, size:]
    if held.shape[1]:
        yield held

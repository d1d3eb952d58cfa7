"""How loud a sound is in every frame of a film: what curves with ``audio`` follow.

The sound is measured every hundredth of a second, over 43 ms around it (short-time Fourier transform with a Hann
window), as the root of the energy in a band. An onset is how far that rises within 30 ms, on a logarithmic scale; it is
told half a window late, so that it never comes before its sound.
"""

import math
from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import numpy as np

from lcm_video.errors import InputError
from lcm_video.media.audio import RATE, samples
from lcm_video.timeline import Heard
from lcm_video.types import Array, Float

PER_SECOND = 100
HOP = RATE // PER_SECOND
WINDOW = 2048
LONGEST = 4 * 3600
"""Seconds of sound that are measured; a longer file is refused."""

SILENCE = 1e-4
"""Quieter than this all over (-80 dB), a file is silent; and onsets are told from this share of the loudest up."""

RISE, LATE = 3, 2  # hops

Levels = Float[Array, "_"]


def levels(heard: Heard, *, fps: Fraction, first: int, frames: int) -> Levels:
    """A level from 0 to 1 for each of ``frames`` frames of the film from ``first`` on; the file's loudest frame has 1.

    Beyond the sound's end it starts again or is silent, as ``heard.loop`` says. Raises InputError for what cannot be
    read.
    """
    track = _shaped(_measured(heard), heard)
    whole = _by_frame(track, heard, fps=fps, first=0, frames=math.ceil(len(track) * fps / PER_SECOND))
    loudest = whole.max(initial=0.0)
    if loudest < SILENCE:
        return np.zeros(frames)
    return np.minimum(_by_frame(track, heard, fps=fps, first=first, frames=frames) / loudest, 1.0)


def _measured(heard: Heard) -> Levels:
    path = Path(heard.audio)
    if not path.is_file():
        raise InputError(f"{path} is not there", remedy="check the path: it is looked for beside the storyboard")
    facts = path.stat()
    return _loudness(heard.audio, heard.hertz, heard.start, (facts.st_mtime_ns, facts.st_size))


@lru_cache(maxsize=32)
def _loudness(path: str, hertz: tuple[float, float], start: float, stamp: tuple[int, int]) -> Levels:
    """The root of the energy in a band at every hundredth of a second; a sine of full height in it has about 1."""
    frequencies = np.fft.rfftfreq(WINDOW, 1 / RATE)
    low, high = hertz
    within = (low <= frequencies) & (frequencies <= high)
    within[np.abs(frequencies - (low + high) / 2).argmin()] = True  # a band narrower than 23 Hz is one line
    window = np.hanning(WINDOW + 1)[:-1]
    parts = []
    for pieces in _pieces(path, start):
        spectrum = np.fft.rfft(pieces * window)[:, within] / (window.sum() / 2)
        parts.append(np.sqrt((spectrum.real**2 + spectrum.imag**2).sum(axis=1)))
    if not parts:
        raise InputError(f"{path}: no sound after {start:g} s", remedy="set start below the sound's length")
    return np.concatenate(parts)


def _pieces(path: str, start: float, *, many: int = 1000) -> Iterator[Float[Array, "pieces samples"]]:
    """Yields the sound in overlapping pieces around every hundredth of a second, ``many`` at a time."""
    held, heard = np.zeros(WINDOW // 2, np.float32), 0
    for block in samples(path, start=start):
        held = np.concatenate([held, block.mean(axis=0)])
        heard += block.shape[1]
        if heard > LONGEST * RATE:
            raise InputError(f"{path} is longer than {LONGEST // 3600} hours", remedy="cut it to the film's length")
        if (full := (len(held) - WINDOW) // HOP + 1) >= many:
            yield np.lib.stride_tricks.sliding_window_view(held, WINDOW)[: full * HOP : HOP]
            held = held[full * HOP :]
    if heard:
        held = np.concatenate([held, np.zeros(WINDOW // 2 - 1, np.float32)])
        yield np.lib.stride_tricks.sliding_window_view(held, WINDOW)[::HOP]


def _shaped(track: Levels, heard: Heard) -> Levels:
    """Loudness or onsets, smoothed, and with the time that rises and falls take."""
    if heard.kind == "onsets":
        track = _onsets(track)
    if half := round(heard.smooth * PER_SECOND / 2):
        sums = np.concatenate([[0.0], np.cumsum(np.pad(track, half))])
        track = (sums[2 * half + 1 :] - sums[: -2 * half - 1]) / (2 * half + 1)
    if heard.attack or heard.release:
        track = _followed(track, heard.attack, heard.release)
    return track


def _onsets(track: Levels) -> Levels:
    loudest = track.max()
    if loudest < SILENCE:
        return np.zeros_like(track)
    scale = np.log10(np.maximum(track / loudest, SILENCE)) / -math.log10(SILENCE)  # -1 silence, 0 loudest
    before = np.concatenate([np.full(RISE, -1.0), scale])[: len(scale)]
    late = np.concatenate([np.zeros(LATE), np.maximum(scale - before, 0)])
    return late[: len(scale)]


def _followed(track: Levels, attack: float, release: float) -> Levels:
    """The track as something follows it that needs its time: 95 % of a step are made up in ``attack`` seconds."""
    up, down = (1 - math.exp(-3 / (PER_SECOND * time)) if time else 1.0 for time in (attack, release))
    followed, here = [], 0.0
    for level in track.tolist():
        here += (level - here) * (up if level > here else down)
        followed.append(here)
    return np.array(followed)


def _by_frame(track: Levels, heard: Heard, *, fps: Fraction, first: int, frames: int) -> Levels:
    """The highest onset, or the mean energy's root, of the time that each frame is shown."""
    edges = np.array([math.ceil(frame * PER_SECOND / fps) for frame in range(first, first + frames + 1)])
    places = np.arange(edges[0], max(edges[-1], edges[-2] + 1) if frames else edges[0])
    found = track[places % len(track)] if heard.loop else np.pad(track, (0, 1))[np.minimum(places, len(track))]
    if not frames:
        return np.zeros(0)
    starts = edges[:-1] - edges[0]
    if heard.kind == "onsets":
        return np.maximum.reduceat(found, starts)
    return np.sqrt(np.add.reduceat(found**2, starts) / np.maximum(np.diff(edges), 1))

"""GIF: 256 colours a frame by FFmpeg's palette filters or our look-up; exact timing and the storyboard by us.

FFmpeg's muxer rounds each delay for itself and drops metadata, so the finished file's blocks are walked once: every
delay is set so that the film's length is exact, and a comment goes in where readers look for it.
"""

import tempfile
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
from av.error import BlockingIOError as NotReady, EOFError as AtEnd, FFmpegError
from av.filter import Graph
from av.filter.context import FilterContext

from lcm_video.media.embedded_text import KEY, fitting
from lcm_video.media.film import Film, finished
from lcm_video.media.gif_blocks import APPLICATION, GRAPHIC_CONTROL, blocks, comment, with_delay
from lcm_video.media.gif_palette import PalettePerSegment
from lcm_video.types import Frame

TICKS = 100
"""GIF counts time in hundredths of a second."""

BEST = "new=1:dither=sierra2_4a"
SMALL = "dither=bayer:bayer_scale=3"


class GifSink:
    """Frames to a GIF: a palette for every frame or every segment at once, or one for the film.

    That one is known after a pass over all frames, which wait in a spool on disk.
    """

    def __init__(self, path: Path, film: Film) -> None:
        self.path, self.film, self.trouble = path, film, ""
        self.count = 0
        options = {"fflags": "+bitexact", "flush_packets": "1", "loop": "0" if film.repeat else "-1"}
        self.container = av.open(str(path), "w", format="gif", container_options=options)
        self.stream = self.container.add_stream("gif", rate=TICKS)
        self.stream.width, self.stream.height, self.stream.pix_fmt = film.width, film.height, "pal8"
        kind = film.output.gif
        self.spool = tempfile.TemporaryFile(dir=path.parent) if kind == "small" else None  # noqa: SIM115 (see abandon)
        self.filters = PALETTES[kind](film)

    def add(self, frame: Frame) -> None:
        """Encodes the next frame, or keeps it on disk until the palette is known."""
        self.filters.push(frame)
        self.count += 1
        if self.spool:
            self.spool.write(frame.tobytes())
        else:
            self._encode(self.filters)

    def close(self) -> Path:
        """Flushes the filters, then writes the file again with exact delays and its text."""
        self.filters.push(None)
        if self.spool:
            self._encode_spool(self.spool)
        else:
            self._encode(self.filters)
        self.container.mux(self.stream.encode(None))
        self.container.close()
        path = finished(self.path)
        with self.path.open("rb") as source, path.open("wb") as target:
            _stamp(source, target, self.film)
        self.path.unlink()
        return path

    def abandon(self) -> None:
        """Closes what is open."""
        if self.spool:
            self.spool.close()
        with suppress(FFmpegError, OSError):  # a full disk, which is why it is abandoned
            self.container.close()

    def _encode_spool(self, spool: BinaryIO) -> None:
        (palette,) = self.filters.pulled()
        filters = OnePalette(self.film, palette)
        shape = (self.film.height, self.film.width, 3)
        spool.seek(0)
        for _ in range(self.count):
            filters.push(np.frombuffer(spool.read(int(np.prod(shape))), np.uint8).reshape(shape))
            self._encode(filters)
        filters.push(None)
        self._encode(filters)

    def _encode(self, filters: "Filters | PalettePerSegment") -> None:
        for video in filters.pulled():
            self.container.mux(self.stream.encode(video))


class Filters:
    """A filter graph with one input for frames and one output."""

    def __init__(self, film: Film) -> None:
        self.graph, self.count = Graph(), 0
        # Ticks count frames here: `_stamp` sets the real times.
        self.source = self._buffer(f"{film.width}x{film.height}", "rgb24")
        self.sink = self.graph.add("buffersink")

    def _buffer(self, size: str, pixels: str) -> FilterContext:
        return self.graph.add("buffer", f"video_size={size}:pix_fmt={pixels}:time_base=1/{TICKS}")

    def push(self, frame: Frame | None) -> None:
        """Gives the next frame to the filters; None after the last."""
        if frame is None:
            return self.source.push(None)
        video = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
        video.pts, video.time_base = self.count, Fraction(1, TICKS)
        self.count += 1
        self.source.push(video)

    def pulled(self) -> Iterator[av.VideoFrame]:
        """The frames that are ready."""
        while True:
            try:
                video = self.sink.pull()
            except (NotReady, AtEnd):
                return
            assert isinstance(video, av.VideoFrame)
            yield video


class PalettePerFrame(Filters):
    """Each frame in its own 256 colours, error-diffused: the least flicker and the best gradients."""

    def __init__(self, film: Film) -> None:
        super().__init__(film)
        split, palette = self.graph.add("split"), self.graph.add("palettegen", "stats_mode=single")
        use = self.graph.add("paletteuse", BEST)
        self.source.link_to(split)
        split.link_to(use, 0, 0)
        split.link_to(palette, 1, 0)
        palette.link_to(use, 0, 1)
        use.link_to(self.sink)
        self.graph.configure()


class PaletteOfFilm(Filters):
    """All frames in, one palette out at the end."""

    def __init__(self, film: Film) -> None:
        super().__init__(film)
        palette = self.graph.add("palettegen", "stats_mode=full")
        self.source.link_to(palette)
        palette.link_to(self.sink)
        self.graph.configure()


PALETTES = {"quality": PalettePerFrame, "small": PaletteOfFilm, "fast": PalettePerSegment}
"""What makes the colours, by `Output.gif`."""


class OnePalette(Filters):
    """Frames in the colours of one palette, with a regular dither that compresses well."""

    def __init__(self, film: Film, palette: av.VideoFrame) -> None:
        super().__init__(film)
        colours = self._buffer(f"{palette.width}x{palette.height}", palette.format.name)
        use = self.graph.add("paletteuse", SMALL)
        self.source.link_to(use, 0, 0)
        colours.link_to(use, 0, 1)
        use.link_to(self.sink)
        self.graph.configure()
        palette.pts = 0
        colours.push(palette)
        colours.push(None)


def _stamp(source: BinaryIO, target: BinaryIO, film: Film) -> None:
    """Copies a GIF, setting each frame's delay and adding the text after the loop block (Pillow looks no further)."""
    pending = comment(f"{KEY}\n{fitting(film.about, 'gif')}".encode()) if film.about else b""
    frame = -1
    for number, block in enumerate(blocks(source)):
        if number and pending and not block.startswith(APPLICATION):
            target.write(pending)
            pending = b""
        if block.startswith(GRAPHIC_CONTROL):
            frame += 1
            block = with_delay(block, film.ticks(frame, TICKS))
        target.write(block)

"""What is kept of one shot: its finished frames, and the live state of a render that has not finished them."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from lcm_video.types import Frame, Tensor
from lcm_video.work import locks
from lcm_video.work.framing import Damaged, Unreadable, explained, flush, place, read, remove, sweep, write

ABOUT = "about.json"
PIN = "keep"
LIVE = "live"
CHUNK = re.compile(r"frames-(?P<first>[0-9]{6,})-(?P<count>[0-9]+)")


class ShotWork:
    """The work on one shot, in a folder of its own; nobody clears it away until `close`.

    Any number of processes may share it: equal keys stand for equal frames, and files appear whole or not at all.
    Whatever is wrong with a file, it counts as not there: then it is removed, and ``notes`` says so.
    """

    def __init__(self, folder: Path, about: Mapping[str, Any], notes: list[str]) -> None:
        """Makes the folder. Raises ResourceError if that cannot be."""
        self.folder, self.notes = folder, notes
        self.shape = about.get("height"), about.get("width")
        with explained(folder.parent):
            if folder.is_symlink() or folder.is_file():
                remove(folder)
            if (obstacle := folder / locks.NAME).is_symlink() or obstacle.is_dir():
                remove(obstacle)
            self._lock = locks.shared(folder)
            flush(folder.parent)
        try:
            sweep(folder)
            place(folder / ABOUT, json.dumps(dict(about), ensure_ascii=False).encode())
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "ShotWork":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Lets go of the folder."""
        self._lock.release()

    def pin(self) -> None:
        """Keeps this work from being cleared away, until everything is."""
        place(self.folder / PIN, b"")

    def missing(self, chunks: Iterable[range]) -> list[range]:
        """Those of ``chunks`` that are not there; whether the others are whole shows when they are read."""
        have = chunks_in(self.folder)
        return [chunk for chunk in chunks if (chunk.start, len(chunk)) not in have]

    def frames(self, chunk: range) -> list[Frame] | None:
        """The frames of a chunk, bit for bit, or None if they are not there."""
        from lcm_video.media.lossless import unpacked

        def unpack(content: bytes) -> list[Frame]:
            frames = unpacked(content)
            wanted = self.shape if None not in self.shape else frames[0].shape[:2]
            if len(frames) != len(chunk) or any(frame.shape[:2] != wanted for frame in frames):
                raise Damaged("holds other frames")
            return frames

        return self._read(chunk_name(chunk), unpack, called=f"frames {chunk.start} to {chunk.stop - 1}")

    def keep_frames(self, chunk: range, frames: Sequence[Frame]) -> None:
        """Keeps the frames of a chunk. Raises ResourceError."""
        from lcm_video.media.lossless import packed

        if len(frames) != len(chunk):
            raise ValueError(f"{len(frames)} frames are not {len(chunk)}")
        self._write(chunk_name(chunk), packed(frames))

    def live(self) -> dict[str, Tensor] | None:
        """The state a render can go on from, or None."""
        from safetensors.torch import load

        return self._read(LIVE, load, called="the state of the render")

    def keep_live(self, live: Mapping[str, Tensor]) -> None:
        """Keeps the state of a render, in place of an earlier one. Raises ResourceError."""
        from safetensors.torch import save

        # Copies, because tensors may be parts of larger ones, or overlap, which the format does not know.
        self._write(LIVE, save({name: tensor.detach().clone().contiguous() for name, tensor in live.items()}))

    def forget_live(self) -> None:
        """Removes the state, once the frames are there."""
        remove(self.folder / LIVE)

    def forget(self) -> None:
        """Removes all that is kept of the shot, so that it is drawn anew."""
        self.forget_live()
        for first, count in chunks_in(self.folder):
            remove(self.folder / chunk_name(range(first, first + count)))

    def _read(self, name: str, understood: Any, *, called: str) -> Any:
        path = self.folder / name
        try:
            content = read(path, self._label(name))
            return None if content is None else understood(content)
        except MemoryError:
            raise
        except Exception as error:  # whatever a library says of bytes that are none of its own
            told = str(error) if isinstance(error, Damaged) else "cannot be understood"
            self.notes.append(f"{called}: the file in the work folder {told}; it is made anew")
            if not isinstance(error, Unreadable):
                remove(path)
            return None

    def _write(self, name: str, content: bytes) -> None:
        write(self.folder / name, content, self._label(name))

    def _label(self, name: str) -> str:
        return f"{self.folder.name}/{name}"


def chunk_name(chunk: range) -> str:
    """The file that holds a chunk of frames."""
    return f"frames-{chunk.start:06d}-{len(chunk)}"


def chunks_in(folder: Path) -> set[tuple[int, int]]:
    """The chunks that there are files of: first frame and number of frames."""
    found = set()
    with suppress(OSError):
        for path in folder.iterdir():
            if match := CHUNK.fullmatch(path.name):
                found.add((int(match["first"]), int(match["count"])))
    return found

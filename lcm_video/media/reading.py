"""Pictures out of files: stills, frame folders, animated images (imageio) and videos (PyAV), as upright 8-bit RGB."""

import struct
from collections import deque
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO

import av
import imageio.v3 as iio
import numpy as np
from av.container import InputContainer

from lcm_video.errors import InputError
from lcm_video.media.colour import to_pixels
from lcm_video.media.opening import IMAGES, check_size, container_of, frames_in, open_media, open_regular, sniff
from lcm_video.types import Frame

LIMIT_FRAMES = 100_000
PLAIN_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I", "I;16", "I;16B", "F")
"""Pillow's modes whose arrays are grey or RGB, with or without alpha."""
PAPER = 255
"""What transparent pictures are laid on."""


def read_frames(path: str | Path, *, limit_frames: int = LIMIT_FRAMES) -> Iterator[Frame]:
    """Yields the first ``limit_frames`` pictures of an image, animated image, video or folder of frames, one by one.

    EXIF and video rotation are applied; CMYK, grey, palette and 16 bits become 8-bit RGB; transparency is laid on
    white; a video's frames come as stored, whatever their timing. Raises InputError at once for what cannot be used,
    and while reading for a file that is damaged further on.
    """
    path = Path(path)
    frames = _of_folder(path) if path.is_dir() else _of_file(path)
    first = next(frames, None)
    if first is None:
        raise InputError(f"{path} holds no pictures", remedy="give an image, a video or a folder of frames")
    return islice(chain([first], frames), limit_frames)


def ends(path: Path) -> list[Frame]:
    """The first and the last picture, without decoding those between where the format allows."""
    if path.is_dir():
        files = frames_in(path)
        return [next(_of_file(file)) for file in (files[0], files[-1])]
    with open_regular(path) as file:
        kind = sniff(file)
        if kind in IMAGES:
            with opened_image(file, kind) as image:
                return [_picture(image, index, path) for index in (0, (image.properties(index=...).n_images or 1) - 1)]
        with open_media(file, kind) as container:
            stream = video_stream(container, path)
            return [to_pixels(next(container.decode(stream))), _last(container, stream, path)]


def _of_folder(folder: Path) -> Iterator[Frame]:
    for path in frames_in(folder):
        yield from islice(_of_file(path), 1)


def _of_file(path: Path) -> Iterator[Frame]:
    with open_regular(path) as file:
        kind = sniff(file)
        if kind in IMAGES:
            yield from _pictures(file, kind, path)
        else:
            with open_media(file, kind) as container:
                yield from _decoded(container, path)


def _pictures(file: BinaryIO, kind: str, path: Path) -> Iterator[Frame]:
    with opened_image(file, kind) as image:
        for index in range(image.properties(index=...).n_images or 1):
            yield _picture(image, index, path)


class opened_image:
    """imageio's Pillow reader on an open file, its size checked before anything is decoded."""

    def __init__(self, file: BinaryIO, kind: str) -> None:
        self.file, self.kind = file, kind

    def __enter__(self) -> Any:
        name = self.file.name
        try:
            self.image = iio.imopen(self.file, "r", plugin="pillow", extension=f".{self.kind}")
            height, width = self.image.properties(index=0).shape[:2]
        except (OSError, ValueError, SyntaxError, struct.error) as error:
            raise _damaged(name, self.kind, error) from None
        check_size(width, height, name)
        return self.image

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        self.image.close()
        if isinstance(error, (OSError, ValueError, SyntaxError, struct.error)) and not isinstance(error, InputError):
            raise _damaged(self.file.name, self.kind, error) from None


def _damaged(name: object, kind: str, error: Exception) -> InputError:
    return InputError(f"{name}: cannot read this {container_of(kind)}: {error}", remedy="is the file complete?")


def _decoded(container: InputContainer, path: Path) -> Iterator[Frame]:
    stream = video_stream(container, path)
    stream.thread_type = "AUTO"
    for video in container.decode(stream):
        yield to_pixels(video)


def _last(container: InputContainer, stream: av.VideoStream, path: Path) -> Frame:
    container.seek(2**62, stream=stream)
    last = deque(container.decode(stream), maxlen=1)
    if not last:
        raise InputError(f"{path}: the last picture cannot be decoded", remedy="is the file complete?")
    return to_pixels(last[0])


def video_stream(container: InputContainer, path: Path) -> av.VideoStream:
    """The file's first video stream, its size checked."""
    if not container.streams.video:
        raise InputError(f"{path} holds no pictures", remedy="give an image or a video")
    stream = container.streams.video[0]
    if stream.codec_context is None:
        raise InputError(f"{path}: the video's codec is not known", remedy="is the file damaged?")
    check_size(stream.width, stream.height, path)
    return stream


def _picture(image: Any, index: int, path: Path) -> Frame:
    """One picture of an image file, upright; Pillow converts unusual colour models, lest ink pass for alpha."""
    mode = image.metadata(index=index, exclude_applied=False).get("mode", "RGB")
    return _rgb(image.read(index=index, rotate=True, mode=None if mode in PLAIN_MODES else "RGB"), path)


def _rgb(picture: np.ndarray, path: Path) -> Frame:
    """8-bit RGB from whatever Pillow gives: grey, grey with alpha, RGB, RGBA; 8 or 16 bits."""
    if picture.dtype == np.bool_:
        picture = picture.astype(np.uint8) * 255
    if picture.dtype in (np.uint16, np.int32):
        picture = (picture.clip(0, 65535) >> 8).astype(np.uint8)
    if picture.dtype != np.uint8:
        raise InputError(f"{path} holds {picture.dtype} values", remedy="save it as 8-bit PNG")
    if picture.ndim == 2:
        picture = picture[..., None]
    if picture.shape[-1] in (2, 4):
        alpha = picture[..., -1:].astype(np.float32) / 255
        picture = (picture[..., :-1] * alpha + PAPER * (1 - alpha)).round().astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(picture, (*picture.shape[:2], 3)))

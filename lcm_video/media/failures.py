"""What the system and FFmpeg say when a file cannot be written, as errors that tell what to do."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from av.error import FFmpegError

from lcm_video.errors import EncodeError, ResourceError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""No space on the disk, none within the quota, or none within the largest file that is allowed."""


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turns what is raised while ``path`` is written into ResourceError or EncodeError."""
    try:
        yield
    except (OSError, FFmpegError) as error:
        reason = error.strerror or str(error)
        if error.errno in FULL:
            remedy = "free space there, or choose another output.path"
            raise ResourceError(f"no space left for {path}: {reason}", remedy=remedy) from error
        if isinstance(error, OSError):
            raise ResourceError(f"cannot write {path}: {reason}", remedy="choose another output.path") from error
        raise EncodeError(f"{path.name}: the encoder failed: {reason}", remedy="try another codec or format") from error

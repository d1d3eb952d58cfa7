"""What a film is written to: the output section of a storyboard, and the facts about each file ending.

To add a format, describe it in FORMATS and give it an encoder in `encoders.py`.
"""

from dataclasses import dataclass as plain_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field
from pydantic.dataclasses import dataclass

from lcm_video.errors import StoryboardError, did_you_mean
from lcm_video.types import STRICT


@plain_dataclass(frozen=True)
class Format:
    """One file ending: what it holds, the codecs it takes (the first is the default), the sound it carries."""

    about: str
    codecs: tuple[str, ...] = ()
    audio: str = ""
    embeds: int = 256_000  # bytes of text that fit within

    @property
    def is_video(self) -> bool:
        """Whether this is a time-based container rather than a picture, a folder of them or an animated image."""
        return bool(self.codecs)


FORMATS: dict[str, Format] = {
    "mp4": Format("video that plays everywhere", ("h264", "h265", "av1"), "aac"),
    "mov": Format("QuickTime video, for editing", ("h264", "h265", "prores"), "aac"),
    "mkv": Format("Matroska video", ("h264", "h265", "av1"), "opus"),
    "webm": Format("video for the web", ("vp9", "av1"), "opus"),
    "gif": Format("animated image of 256 colours a frame"),
    "webp": Format("animated image, a thirtieth of a GIF's size"),
    "apng": Format("animated image without loss"),
    "png": Format("folder of frames without loss (one frame: a single picture)"),
    "jpg": Format("folder of frames (one frame: a single picture)", embeds=60_000),
}

ONLY_420 = ("av1",)
"""Codecs whose encoder knows no 4:4:4."""


def _words(value: Any) -> Any:
    """A comma text as a list of its words; anything else as it is."""
    return [word for word in value.replace(",", " ").split()] if isinstance(value, str) else value


@dataclass(frozen=True, config=STRICT)
class Audio:
    """Sound laid under the film; it is cut or repeated to the film's length and never changes it.

    source: path of an audio or video file; "" = silent
    start: seconds of the source that are skipped
    loop: whether a source shorter than the film starts again (otherwise silence follows)
    volume: factor, 1 = as recorded, 0..4
    fade: seconds of fading in at the beginning and out at the end
    """

    source: str = ""
    start: Annotated[float, Field(ge=0)] = 0.0
    loop: bool = True
    volume: Annotated[float, Field(ge=0, le=4)] = 1.0
    fade: Annotated[float, Field(ge=0)] = 0.0


@dataclass(frozen=True, config=STRICT)
class Output:
    """Where the film goes and how it is compressed.

    path: the ending chooses the format (see FORMATS); "" = out/<storyboard's name>.mp4
    formats: further endings written beside ``path`` from the same render, for example [gif, webm]
    codec: h264, h265, av1, vp9 or prores; "" = the container's first. ``path`` must take it; further formats that
        do not take it keep their own default
    quality: constant rate factor on H.264's scale, 0 (best) to 51; 18 looks lossless, each 6 halve the size.
        H.265 takes the same number, VP9 and AV1 their own scale of 63, ProRes a profile, WebP and JPG a percentage;
        WebP at 0 is lossless
    chroma: 420 plays everywhere and needs even sizes; 444 keeps coloured edges sharp (10 bits in H.264, H.265 and
        ProRes, whose 420 is 4:2:2)
    gif: quality = a palette for every frame, dithered; small = one palette for the film, about half the size; fast = a
        palette for some dozens of frames, not dithered, 10 to 20 times as fast to write
    repeat: whether GIF, WebP and APNG begin again after the last frame
    audio: sound for the formats that carry it
    metadata: whether each file carries its own storyboard
    """

    path: str = ""
    formats: Annotated[tuple[str, ...], BeforeValidator(_words)] = ()
    codec: Literal["", "h264", "h265", "av1", "vp9", "prores"] = ""
    quality: Annotated[int, Field(ge=0, le=51)] = 18
    chroma: Literal["420", "444"] = "420"
    gif: Literal["quality", "small", "fast"] = "quality"
    repeat: bool = True
    audio: Audio = Audio()
    metadata: bool = True

    def __post_init__(self) -> None:
        for index, ending in enumerate(self.endings):
            if ending not in FORMATS:
                shown = f"the ending {ending!r}" if ending else f"{self.path!r}: it has no ending"
                field = "formats" if index else "path"
                raise StoryboardError(f"cannot write {shown}", remedy=did_you_mean(ending, FORMATS), field=field)
        if {"png", "jpg"} <= {*self.endings}:
            raise StoryboardError("png and jpg would share a folder", remedy="choose one of them", field="formats")
        self._check_codec()
        self._check_audio()

    @property
    def endings(self) -> tuple[str, ...]:
        """The formats of all files, ``path``'s first, none twice."""
        first = Path(self.path).suffix.lower().removeprefix(".") if self.path else "mp4"
        return tuple(dict.fromkeys([first, *(ending.lower().removeprefix(".") for ending in self.formats)]))

    def path_of(self, ending: str) -> Path:
        """The file that is written for ``ending``; frames of a longer film go into a folder of that name without it."""
        path = Path(self.path or "out/film.mp4")
        return path if ending == self.endings[0] else path.with_suffix(f".{ending}")

    def codec_of(self, ending: str) -> str:
        """The codec used in ``ending``'s container; "" for images."""
        codecs = FORMATS[ending].codecs
        return self.codec if self.codec in codecs else next(iter(codecs), "")

    def _check_codec(self) -> None:
        videos = [ending for ending in self.endings if FORMATS[ending].is_video]
        takers = videos[:1] if videos[:1] == [self.endings[0]] else videos
        if self.codec and not any(self.codec in FORMATS[ending].codecs for ending in takers):
            takes = "; ".join(f"{ending} takes {', '.join(FORMATS[ending].codecs)}" for ending in takers)
            fits = ", ".join(ending for ending, known in FORMATS.items() if self.codec in known.codecs)
            message = f"{self.codec} does not fit into {' or '.join(takers) or self.endings[0]}"
            raise StoryboardError(
                message, remedy=f"{self.codec} goes into {fits}" + (takes and f"; {takes}"), field="codec"
            )
        if self.chroma == "444" and any(self.codec_of(ending) in ONLY_420 for ending in videos):
            raise StoryboardError("the AV1 encoder knows no 4:4:4", remedy="chroma: 420, or h265", field="chroma")

    def _check_audio(self) -> None:
        if self.audio.source and not any(FORMATS[ending].audio for ending in self.endings):
            carriers = ", ".join(ending for ending, known in FORMATS.items() if known.audio)
            message = f"{' and '.join(self.endings)} cannot carry sound"
            raise StoryboardError(message, remedy=f"add one of {carriers} to formats, or drop audio", field="audio")

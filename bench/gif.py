"""Writes films as GIF in every way there is, and as Pillow does: processor time, size, and how near the colours are.

    python bench/gif.py                     # 16, 64 and 256 frames of a drawn film at 512×512
    python bench/gif.py --film film.mp4     # a film of your own (at most 256 frames of it)

CPU seconds of all threads of the process, the median of rounds in which the ways take turns. PSNR is that of the frames
as Pillow reads them back; `seen` is the same after both were blurred by 2 pixels, as an eye does with dither. The last
line is JSON. Measured on two cores of a Zen 4, 16 frames of the drawn film, which has grain:

    pillow 1.7 s, 29.0 dB (seen 33.2)    quality 5.8 s, 27.5 (36.5)    small 7.3 s, 29.0 (34.3)
    fast   0.5 s, 30.6 dB (seen 37.2)
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter, ImageSequence

from lcm_video.media import Output, read_frames, write
from lcm_video.types import Frame

FPS = Fraction(8)


def drawn(count: int, side: int = 512) -> list[Frame]:
    """A film of soft moving colours with grain, and a cut in the middle."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:side, :side] / side
    frames = []
    for number in range(count):
        t, shot = number / 40, number >= count / 2
        waves = [
            np.sin(2 * np.pi * (x * a + y * b + t * c) + 2 * shot) for a, b, c in ((1, 2, 1), (2, 1, -1), (3, -2, 2))
        ]
        disc = np.hypot(x - 0.5 - 0.3 * np.cos(6 * t), y - 0.5 - 0.3 * np.sin(6 * t)) < 0.15
        picture = 128 + 80 * np.stack(waves, 2)[..., [2, 0, 1] if shot else [0, 1, 2]]
        picture[disc] = (240, 60, 30) if shot else (30, 90, 220)
        frames.append(np.clip(picture + rng.normal(0, 4, picture.shape), 0, 255).astype(np.uint8))
    return frames


def by_us(kind: str) -> Callable[[list[Frame], Path], None]:
    def run(frames: list[Frame], path: Path) -> None:
        write(iter(frames), Output(path=str(path), gif=kind), fps=FPS)  # type: ignore[arg-type]

    return run


def by_pillow(frames: list[Frame], path: Path) -> None:
    """As diffusers' export_to_gif does."""
    first, *others = [Image.fromarray(frame) for frame in frames]
    first.save(path, save_all=True, append_images=others, optimize=False, duration=125, loop=0)


WAYS = {"pillow": by_pillow, "quality": by_us("quality"), "small": by_us("small"), "fast": by_us("fast")}


def nearness(frames: list[Frame], path: Path) -> tuple[float, float]:
    """PSNR of the file's frames in dB, and that after blurring."""
    errors = []
    with Image.open(path) as film:
        for wanted, found in zip(frames, ImageSequence.Iterator(film), strict=False):
            pair = [Image.fromarray(wanted), found.convert("RGB")]
            blurred = [image.filter(ImageFilter.GaussianBlur(2)) for image in pair]
            errors.append(
                [np.square(np.subtract(*(np.asarray(image, float) for image in two))).mean() for two in (pair, blurred)]
            )
    raw, seen = 10 * np.log10(255**2 / np.mean(errors, axis=0))
    return float(raw), float(seen)


def measured(frames: list[Frame], ways: list[str], rounds: int) -> dict[str, dict[str, float]]:
    times: dict[str, list[float]] = {way: [] for way in ways}
    facts: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(rounds):
            for way in ways:
                path = Path(folder, f"{way}.gif")
                start = time.process_time()
                WAYS[way](frames, path)
                times[way].append(time.process_time() - start)
        for way in ways:
            path = Path(folder, f"{way}.gif")
            psnr, seen = nearness(frames, path)
            cpu, ratios = times[way], [a / b for a, b in zip(times[ways[0]], times[way], strict=True)]
            facts[way] = {"cpu_s": statistics.median(cpu), f"x_{ways[0]}": statistics.median(ratios)}
            facts[way] |= {"kB": path.stat().st_size / 1e3, "psnr": psnr, "seen": seen}
    return facts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--film", type=Path, help="a film instead of the drawn one")
    parser.add_argument("--frames", type=int, nargs="+", default=[16, 64, 256])
    parser.add_argument("--size", type=int, default=512, help="of the drawn film, in pixels")
    parser.add_argument(
        "--ways", nargs="+", choices=WAYS, default=[*WAYS], help="the first is what others are measured by"
    )
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    found = {}
    for count in asked.frames:
        frames = list(read_frames(asked.film, limit_frames=count)) if asked.film else drawn(count, asked.size)
        found[len(frames)] = measured(frames, asked.ways, asked.rounds)
        for way, facts in found[len(frames)].items():
            print(
                f"{len(frames):4} frames  {way:8}",
                "  ".join(f"{name} {value:.2f}" for name, value in facts.items()),
                flush=True,
            )
    print(json.dumps({"bench": "gif", "film": str(asked.film or "drawn"), "frames": found}))


if __name__ == "__main__":
    main()

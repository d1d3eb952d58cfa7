"""The plan as a picture: which prompt shows when, the numbers that vary, and the windows of every step."""

from collections.abc import Iterator, Sequence

from lcm_video.picture import Area, Line, Picture, PointXY, Words
from lcm_video.plan import Plan, ShotPlan
from lcm_video.types import FrameNumbers

BACKGROUND, PANEL, INK, FAINT = "#15171c", "#1f222a", "#e8e6e1", "#8b90a0"
COLOURS = ("#e8875a", "#5aa9e8", "#8fce6b", "#d779c4", "#e8c95a", "#5ad1c0", "#9b83ea", "#e06377")
LEFT, RIGHT, WIDTH = 92, 24, 1000
MANY_STEPS, MANY_WINDOWS = 12, 300


def draw(plan: Plan) -> Picture:
    """The picture of a whole film; time runs from left to right through all shots."""
    prompts = list(dict.fromkeys(text for shot in plan.shots for text in shot.prompts.prompts))
    sheet = _Sheet(plan, {text: COLOURS[i % len(COLOURS)] for i, text in enumerate(prompts)})
    sheet.title()
    sheet.travel()
    for name in sorted({name for shot in plan.shots for name in shot.curves}):
        sheet.curve(name)
    sheet.windows()
    sheet.axis()
    sheet.legend()
    return sheet.finished()


def _runs(frames: FrameNumbers) -> Iterator[tuple[int, int]]:
    """Yields the first and last of every run of neighbouring frames: a looped window has two, a strided one many."""
    ordered = sorted(frames)
    first = ordered[0]
    for frame, following in zip(ordered, [*ordered[1:], None], strict=True):
        if following != frame + 1:
            yield first, frame
            if following is not None:
                first = following


class _Sheet:
    """Draws panels one under the other; ``y`` is where the next begins."""

    def __init__(self, plan: Plan, colours: dict[str, str]) -> None:
        self.plan, self.colours = plan, colours
        self.picture = Picture(WIDTH, 0, BACKGROUND)
        self.y = 0.0

    def x(self, frame: float) -> float:
        """Where a frame of the film begins, in pixels."""
        return LEFT + frame / self.plan.frames * (WIDTH - LEFT - RIGHT)

    def words(self, x: float, y: float, text: str, colour: str = FAINT, **look) -> None:
        self.picture.shapes.append(Words((x, y), text, colour, **look))

    def panel(self, name: str, height: float) -> float:
        """A named band across the film; returns its lower edge."""
        self.picture.box(LEFT, self.y, WIDTH - LEFT - RIGHT, height, PANEL)
        self.words(LEFT - 12, self.y + height / 2 + 4, name, anchor="end")
        bottom, self.y = self.y + height, self.y + height + 14
        return bottom

    def title(self) -> None:
        video = self.plan.board.video
        rate = f"{float(video.fps):.5g} fps"
        facts = f"{self.plan.frames} frames · {self.plan.seconds:.2f} s at {rate} · {video.width}x{video.height}"
        self.words(LEFT, 34, facts, INK, size=15)
        self.y = 62

    def travel(self) -> None:
        """Stacked areas: at each frame, how much of every prompt it shows."""
        height = 96
        bottom = self.panel("prompts", height)
        for shot in self.plan.shots:
            frames = range(0, shot.shot.frames, max(1, shot.shot.frames // 2000))
            below = [0.0] * len(frames)
            shares = [shot.weights(frame) for frame in frames]
            for text in shot.prompts.prompts:
                above = [low + share.get(text, 0.0) for low, share in zip(below, shares, strict=True)]
                edges = [self._step(shot, frames, level, bottom, height) for level in (below, above)]
                if above != below:
                    self.picture.shapes.append(Area([*edges[0], *reversed(edges[1])], self.colours[text]))
                below = above
            self._cut(shot, bottom - height, height)

    def _step(self, shot: ShotPlan, frames: range, levels: Sequence[float], bottom: float, height: float):
        """A level of each frame as a staircase, so that one frame is as wide as it lasts."""
        points: list[PointXY] = []
        for frame, level in zip(frames, levels, strict=True):
            y = bottom - level * height
            last = min(frame + frames.step, shot.shot.frames)
            points += [(self.x(shot.shot.first + frame), y), (self.x(shot.shot.first + last), y)]
        return points

    def _cut(self, shot: ShotPlan, top: float, height: float) -> None:
        """A line where a shot begins, and its name."""
        if shot.shot.name:
            x = self.x(shot.shot.first)
            self.picture.box(x, top - 6, 2, height + 6, INK)
            self.words(x + 6, top - 4, shot.shot.name, INK, size=11)

    def curve(self, name: str) -> None:
        """One number over time, with its range."""
        height = 46
        bottom = self.panel(name, height)
        series = [(shot, values) for shot in self.plan.shots if (values := shot.curves.get(name))]
        low, high = min(min(values) for _, values in series), max(max(values) for _, values in series)
        for shot, values in series:
            scaled = [8 + (value - low) / (high - low) * (height - 16) for value in values]
            line = [(self.x(shot.shot.first + i + 0.5), bottom - level) for i, level in enumerate(scaled)]
            self.picture.shapes.append(Line(line, COLOURS[1], 2))
        self.words(WIDTH - RIGHT - 6, bottom - height + 14, f"{high:.4g}", size=11, anchor="end")
        self.words(WIDTH - RIGHT - 6, bottom - 6, f"{low:.4g}", size=11, anchor="end")

    def windows(self) -> None:
        """A band per step: each window a bar, overlapping ones on rows below each other."""
        for step in range(min(max(len(shot.windows) for shot in self.plan.shots), MANY_STEPS)):
            bars = [bar for shot in self.plan.shots for bar in self._bars(shot, step)]
            rows = 1 + max((row for row, _, _ in bars), default=0)
            bottom = self.panel(f"step {step + 1}", rows * 9 + 5)
            self.y -= 8
            for row, start, end in bars:
                y = bottom - rows * 9 - 5 + 4 + row * 9
                self.picture.box(self.x(start) + 0.5, y, max(self.x(end) - self.x(start) - 1, 1), 6, COLOURS[5])
        self.y += 8

    def _bars(self, shot: ShotPlan, step: int) -> Iterator[tuple[int, int, int]]:
        """Yields row, first frame and end of every bar; a window goes on the first row that is free."""
        windows = shot.windows[step] if step < len(shot.windows) else ()
        taken: list[set[int]] = []
        for window in windows[:MANY_WINDOWS]:
            row = next((i for i, frames in enumerate(taken) if frames.isdisjoint(window)), len(taken))
            taken += [set()] if row == len(taken) else []
            taken[row].update(window)
            for first, last in _runs(window):
                yield row, shot.shot.first + first, shot.shot.first + last + 1

    def axis(self) -> None:
        """Frame numbers and seconds, at round distances."""
        every = next(n for k in range(8) for n in (10**k, 2 * 10**k, 5 * 10**k) if self.plan.frames / n <= 14)
        for frame in range(0, self.plan.frames, every):
            x = self.x(frame)
            self.picture.box(x, self.y - 6, 1, 5, FAINT)
            self.words(x, self.y + 10, str(frame), size=11, anchor="middle")
            self.words(x, self.y + 24, f"{float(frame / self.plan.board.video.fps):.2f}s", size=10, anchor="middle")
        self.y += 46

    def legend(self) -> None:
        """Which colour is which prompt."""
        for text, colour in [*self.colours.items()][:24]:
            self.picture.box(LEFT, self.y - 10, 12, 12, colour)
            self.words(LEFT + 20, self.y, text if len(text) <= 120 else text[:119] + "…", INK, size=12)
            self.y += 20

    def finished(self) -> Picture:
        self.picture.height = self.y + 8
        return self.picture

"""Renders, kills, damage and edits in any order: whatever happened before, a film that has its name is the right one.

What is right is a render of the same storyboard in a store of its own. Kills are real: a forked process ends itself.
"""

import os
import shutil
import signal
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from job_parts import Simple
from typer.testing import CliRunner

from lcm_video.cli.commands import app
from lcm_video.errors import Interrupted
from lcm_video.job import Job
from lcm_video.pipeline import Pipeline

BOARD = """\
extends: embedded
video: {{fps: 8, width: 64, height: 64}}
sampling: {{steps: 2, seed: 5}}
windows: {{length: 8, overlap: 2}}
shots:
  a: {{frames: 2, prompts: {0}}}
  b: {{frames: 18, prompts: {1}}}
  c: {{frames: 2, prompts: {2}}}
"""
PROMPTS = ("a red circle", "a green star", "a blue square")
ENDINGS = st.sampled_from(["mp4", "gif", "mkv"])
right: dict[tuple[tuple[str, ...], str], bytes] = {}
"""The film of each storyboard in each format, rendered with nothing stored."""


class Renders(RuleBasedStateMachine):
    """One storyboard, one store, and a film in several formats."""

    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.work = self.folder / "work"
        self.before = Path.cwd(), os.environ.get("LCM_VIDEO_WORK")
        os.chdir(self.folder)
        os.environ["LCM_VIDEO_WORK"] = str(self.work)
        self.parts, self.load, self.look = Simple(), Pipeline.load, Job.look
        Pipeline.load = lambda model, runtime: self.parts.pipeline
        self.prompts, self.films = PROMPTS, {}

    def teardown(self):
        Pipeline.load, Job.look = self.load, self.look
        os.chdir(self.before[0])
        os.environ.pop("LCM_VIDEO_WORK")
        if self.before[1]:
            os.environ["LCM_VIDEO_WORK"] = self.before[1]
        shutil.rmtree(self.folder, ignore_errors=True)

    def cli(self, *arguments):
        Path("board.yaml").write_text(BOARD.format(*self.prompts))
        return CliRunner().invoke(app, [*arguments])

    def expected(self, ending):
        if (self.prompts, ending) not in right:
            os.environ["LCM_VIDEO_WORK"] = str(self.folder / "other")
            done = self.cli("render", "board.yaml", "-o", f"right.{ending}", "--overwrite")
            assert done.exit_code == 0, done.output
            os.environ["LCM_VIDEO_WORK"] = str(self.work)
            right[self.prompts, ending] = Path(f"right.{ending}").read_bytes()
        return right[self.prompts, ending]

    def committed(self, ending, code):
        """Whether the film is the right one now; if the render ended otherwise, the one before may still be there."""
        expected, film = self.expected(ending), Path(f"film.{ending}")
        found = film.read_bytes() if film.exists() else None
        assert found == expected or (code != 0 and found == self.films.get(ending))
        self.films[ending] = found

    @rule(ending=ENDINGS, fresh=st.booleans())
    def render(self, ending, fresh):
        done = self.cli("render", "board.yaml", "-o", f"film.{ending}", "--overwrite", *["--fresh"] * fresh)
        assert done.exit_code == 0, done.output
        self.committed(ending, 0)

    @rule(ending=ENDINGS, looks=st.integers(0, 70))
    def interrupt(self, ending, looks):
        left = iter(range(looks))

        def look(job):
            if next(left, None) is None:
                raise Interrupted("interrupted")

        Job.look = look
        done = self.cli("render", "board.yaml", "-o", f"film.{ending}", "--overwrite")
        Job.look = self.look
        assert done.exit_code in (0, 130), done.output
        self.committed(ending, done.exit_code)

    @rule(ending=ENDINGS, call=st.integers(1, 14), at=st.sampled_from(["draw", "decode"]))
    def kill(self, ending, call, at):
        child = os.fork()
        if not child:
            self.end_at(call, at)
            with suppress(BaseException):
                self.cli("render", "board.yaml", "-o", f"film.{ending}", "--overwrite")
            os._exit(0)
        _, status = os.waitpid(child, 0)
        self.committed(ending, status)

    def end_at(self, call, at):
        """From here on, this process ends in the middle of a call."""
        left, usual = iter(range(call)), self.parts.decode

        def die():
            if next(left, None) is None:
                os.kill(os.getpid(), signal.SIGKILL)

        if at == "draw":
            self.parts.before = die
        else:
            self.parts.decode = lambda latents: die() or usual(latents)

    @rule(data=st.data(), harm=st.sampled_from(["flip", "cut", "empty", "gone", "foreign", "swap"]))
    def corrupt(self, data, harm):
        files = sorted(path for path in self.work.rglob("*") if path.is_file())
        if not files:
            return
        file, other = (files[data.draw(st.integers(0, len(files) - 1))] for _ in range(2))
        content = bytearray(file.read_bytes())
        if harm == "flip" and content:
            content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        changed = {"flip": content, "cut": content[: len(content) // 2], "empty": b"", "foreign": b"hello\n" * 9}
        if harm == "gone":
            file.unlink()
        else:
            file.write_bytes(changed.get(harm) if harm != "swap" else other.read_bytes())

    @rule(shot=st.integers(0, 2), prompt=st.sampled_from(PROMPTS))
    def edit(self, shot, prompt):
        self.prompts = (*self.prompts[:shot], prompt, *self.prompts[shot + 1 :])

    @rule()
    def delete_the_work(self):
        shutil.rmtree(self.work, ignore_errors=True)

    @rule(limit=st.sampled_from(["0", "40kB", "1GB"]))
    def clear(self, limit):
        done = self.cli("cache", "gc", "--limit", limit)
        assert done.exit_code == 0, done.output

    @invariant()
    def every_film_is_as_it_was_left(self):
        for ending, content in self.films.items():
            if content is not None:
                assert Path(f"film.{ending}").read_bytes() == content


def run(examples, steps):
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    run_state_machine_as_test(
        Renders,
        settings=settings(
            max_examples=examples, stateful_step_count=steps, deadline=None, suppress_health_check=checks,
            derandomize=examples < 10,
        ),
    )  # fmt: skip


def test_a_film_that_has_its_name_is_the_right_one():
    run(3, 5)


@pytest.mark.slow
def test_a_film_that_has_its_name_is_the_right_one_whatever_happened():
    run(60, 12)

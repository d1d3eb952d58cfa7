"""The storyboard: everything a film depends on.

Each section's options, defaults and checks live beside the code that uses them; this file puts them together, and
`scenes.shots` says what that means for every shot. To add a section, write its dataclass there and name it here.
"""

from pydantic import Field
from pydantic.dataclasses import dataclass

from lcm_video.freeinit import FreeInit
from lcm_video.media import Output
from lcm_video.models import Model, Runtime
from lcm_video.samplers import Sampling
from lcm_video.start import Start
from lcm_video.storyboard.called import with_called
from lcm_video.storyboard.faults import check
from lcm_video.storyboard.shot import Name, Negative, Script, Shot
from lcm_video.storyboard.video import Video
from lcm_video.timeline import Curve, CurveName, Travel
from lcm_video.types import STRICT
from lcm_video.windows import Windows


@dataclass(frozen=True, config=STRICT)
class Storyboard:
    """A film, completely described.

    prompts: prompts at moments (12, 1.5s, 25%, -1); also of every shot that has none of its own
    shots: several shots by name, in film order, cut hard; without them the film is one shot
    negative: what the film should not show, a text or keyframes; used where guidance is above 1
    video: length, frame rate, size
    model: weights
    sampling: sampler, steps, guidance, seed
    windows: how a long shot is cut for the motion module
    freeinit: drawing a shot several times for steadier motion
    travel: how one prompt turns into the next
    start: an image or video to begin from
    output: file, format, quality
    runtime: device, precision, batch sizes
    curves: numbers over time by a name of your own, to use in other curves and in prompts as @name; each may use those
        above it
    wildcards: lines to draw from by a name of your own, called __name__ in prompts; files wildcards/name.txt beside the
        storyboard are read here
    vars: texts to use elsewhere as ${vars.name}
    """

    prompts: Script = Field(default_factory=dict)
    shots: dict[Name, Shot] = Field(default_factory=dict)
    negative: Negative = ""
    video: Video = Video()
    model: Model = Model()
    sampling: Sampling = Sampling()
    windows: Windows = Windows()
    freeinit: FreeInit = FreeInit()
    travel: Travel = Travel()
    start: Start = Start()
    output: Output = Output()
    runtime: Runtime = Runtime()
    curves: dict[CurveName, Curve] = Field(default_factory=dict)
    wildcards: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    vars: dict[str, str] = Field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "model", with_called(self))
        check(self)

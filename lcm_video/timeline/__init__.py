"""What happens when: moments, prompts between keyframes, and numbers that change. Pure Python, no tensors.

moments     12, 1.5s, 25%, 4b, -1 → frames           prompts   keyframes → one blend of two prompts per frame
curves      what a number may be written as          numbers   curves → one number per frame
easings     how the way between moments is paced     seeds     seeds at moments → one blend of two seeds per frame
"""

from lcm_video.timeline.curves import Curve, CurveName, Point, Value, calls, ranges, within
from lcm_video.timeline.easings import EASINGS, Easing, TravelEasing
from lcm_video.timeline.expressions import ExpressionError
from lcm_video.timeline.film import ALONE, Film
from lcm_video.timeline.moments import Moment, Tempo, is_moment, misplaced, natural_length, parse_moment, positions
from lcm_video.timeline.numbers import used, values
from lcm_video.timeline.prompts import Blend, Keyframe, Prompts, Timeline, Travel, plan
from lcm_video.timeline.seeds import SeedPoint, Seeds, seeds
from lcm_video.timeline.sound import Heard

__all__ = [
    "ALONE",
    "EASINGS",
    "Blend",
    "Curve",
    "CurveName",
    "Easing",
    "ExpressionError",
    "Film",
    "Heard",
    "Keyframe",
    "Moment",
    "Point",
    "Prompts",
    "SeedPoint",
    "Seeds",
    "Tempo",
    "Timeline",
    "Travel",
    "TravelEasing",
    "Value",
    "calls",
    "is_moment",
    "misplaced",
    "natural_length",
    "parse_moment",
    "plan",
    "positions",
    "ranges",
    "seeds",
    "used",
    "values",
    "within",
]

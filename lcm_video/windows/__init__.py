"""Context windows: a motion module sees 16 to 32 frames; longer films are denoised in overlapping windows.

Each window is denoised alone, and where windows overlap their predictions are blended. From step to step the windows
drift, so that no frame is always at a window's edge. Whatever the numbers, at every step every frame lies in a window,
no window holds a frame twice, and all have the same length.

options   what a storyboard may say
cutting   the windows of every step
blending  their predictions put together
"""

from lcm_video.windows.blending import BLENDS, FAINT, flat, overlap_linear, pyramid, shares, windowed
from lcm_video.windows.cutting import Window, WindowPlan, cut, halving, plan_windows
from lcm_video.windows.options import USUAL, Settled, Windows

__all__ = [
    "BLENDS",
    "FAINT",
    "USUAL",
    "Settled",
    "Window",
    "WindowPlan",
    "Windows",
    "cut",
    "flat",
    "halving",
    "overlap_linear",
    "plan_windows",
    "pyramid",
    "shares",
    "windowed",
]

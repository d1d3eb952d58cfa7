"""The storyboard: everything a film depends on, what that means for every shot, and what may disappoint."""

from lcm_video.storyboard.board import Storyboard
from lcm_video.storyboard.faults import StoryboardFaults, check
from lcm_video.storyboard.scenes import Scene, shots
from lcm_video.storyboard.shot import Shot
from lcm_video.storyboard.video import Video, frame_rate
from lcm_video.storyboard.warnings import warnings

__all__ = ["Scene", "Shot", "Storyboard", "StoryboardFaults", "Video", "check", "frame_rate", "shots", "warnings"]

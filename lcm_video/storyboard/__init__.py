"""The storyboard: everything a film depends on, what that means for every shot, and what may disappoint."""

from lcm_video.storyboard.board import Scene, Shot, Storyboard, shots
from lcm_video.storyboard.video import Video, frame_rate
from lcm_video.storyboard.warnings import warnings

__all__ = ["Scene", "Shot", "Storyboard", "Video", "frame_rate", "shots", "warnings"]

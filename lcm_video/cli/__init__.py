"""The command line. Nothing heavy loads before it is needed, so that ``--help`` and mistakes answer at once."""

from lcm_video.cli.commands import main

__all__ = ["main"]

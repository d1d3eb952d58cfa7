"""The command line. Nothing heavy loads before it is needed, so that ``--help`` and mistakes answer at once."""

from lcm_video.cli import (
    cache_commands as cache_commands,  # adds its commands
    import_command as import_command,  # adds its command
    model_commands as model_commands,  # adds its commands
)
from lcm_video.cli.commands import main

__all__ = ["main"]

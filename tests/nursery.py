"""A process that has loaded what a render needs, and forks one command line after another: each starts at once.

For each line of JSON on its input, ``{"args": [...], "folder": ..., "says": ...}``, it forks a child that runs these
arguments in that folder, its output going to the file ``says``. It answers with the child's number, and when the child
has ended with its exit code (negative: the signal that ended it).
"""

import json
import os
import sys


def main():
    import torch

    torch.set_num_threads(1)
    import lcm_video.cli.rendering
    import lcm_video.decoder
    import lcm_video.media.writing
    import lcm_video.models.loading
    import lcm_video.pipeline  # noqa: F401
    from lcm_video.work import facts

    facts.code()
    print("ready", flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        child = os.fork()
        if not child:
            run(asked)
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def run(asked):
    """Becomes the command."""
    from lcm_video.cli import main as command

    os.chdir(asked["folder"])
    for name, descriptor in (("says", 1), ("complains", 2)):
        file = os.open(asked[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(file, descriptor)
    os.environ.update(asked.get("environment", {}))
    sys.argv = ["lcm-video", *asked["args"]]
    code = 0
    try:
        command()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:
        code = 1
    sys.stdout.flush()
    os._exit(code)


if __name__ == "__main__":
    main()

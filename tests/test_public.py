import subprocess
import sys

import lcm_video


def test_the_public_names_are_these_and_all_there():
    assert lcm_video.__all__ == [
        "ENCODERS", "Keyframe", "LcmVideoError", "Output", "Pipeline",
        "Storyboard", "Video", "decode", "load", "write",
    ]  # fmt: skip
    assert all(getattr(lcm_video, name) for name in lcm_video.__all__)


def test_importing_the_package_loads_nothing():
    code = "import sys, lcm_video; print({'torch', 'numpy', 'pydantic'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"

"""Workflows inside pictures and films are found wherever tools put them, whatever the file is called."""

import json
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from lcm_video.errors import InputError
from lcm_video.importers import importing
from lcm_video.media import texts

EXAMPLES = Path(__file__).parent.parent / "examples" / "import"
WORKFLOW, RUN = ((EXAMPLES / name).read_text() for name in ("tutorial.json", "tutorial-api.json"))
PICTURE = Image.new("RGB", (16, 16), "red")


def png(path, **options):
    info = PngInfo()
    for name, text in (("prompt", RUN), ("workflow", WORKFLOW)):
        (info.add_itxt if options.get("itxt") else info.add_text)(name, text, zip=options.get("zip", False))
    PICTURE.save(path, "PNG", pnginfo=info)


def webp(path):
    exif = Image.Exif()
    exif[0x0110], exif[0x010F] = f"prompt:{json.dumps(json.loads(RUN))}", f"workflow:{json.dumps(json.loads(WORKFLOW))}"
    PICTURE.save(path, "WEBP", exif=exif.tobytes())


def gif(path):
    PICTURE.save(path, "GIF", comment=RUN.encode())


def film(path, form, **metadata):
    options = {"movflags": "use_metadata_tags"} if form == "mp4" else {}
    with av.open(str(path), "w", format=form, options=options) as container:
        stream = container.add_stream("libx264" if form != "webm" else "libvpx-vp9", rate=8)
        stream.width = stream.height = 32
        container.metadata.update(metadata)
        frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)


CARRIERS = {
    "PNG, plain": png,
    "PNG, compressed": lambda path: png(path, zip=True),
    "PNG, international": lambda path: png(path, itxt=True),
    "PNG, international and compressed": lambda path: png(path, itxt=True, zip=True),
    "WebP": webp,
    "GIF": gif,
    "MP4, one comment": lambda path: film(path, "mp4", comment=json.dumps({"prompt": RUN, "workflow": WORKFLOW})),
    "MP4, tags": lambda path: film(path, "mp4", prompt=RUN, workflow=WORKFLOW),
    "WebM": lambda path: film(path, "webm", prompt=RUN),
    "Matroska": lambda path: film(path, "matroska", COMMENT=json.dumps({"workflow": json.loads(WORKFLOW)})),
}


@pytest.mark.parametrize("carrier", CARRIERS.values(), ids=CARRIERS)
def test_a_workflow_is_found_in_its_carrier(carrier, tmp_path):
    path = tmp_path / "workflow.json"  # a name that says nothing, as downloads have
    carrier(path)
    assert importing(path).board == importing(EXAMPLES / "tutorial-api.json").board


def test_a_picture_without_any_text_says_so(tmp_path):
    PICTURE.save(tmp_path / "bare.png")
    with pytest.raises(InputError, match="carries no workflow"):
        importing(tmp_path / "bare.png")


def test_names_of_texts_are_in_lower_case_and_exif_comments_are_decoded(tmp_path):
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9286] = b"UNICODE\0" + "a fox\nSteps: 4".encode("utf-16-be")
    PICTURE.save(tmp_path / "a.jpg", exif=exif.tobytes())
    assert texts(tmp_path / "a.jpg")["usercomment"] == "a fox\nSteps: 4"
    film(tmp_path / "a.mkv", "matroska", WORKFLOW="{}")
    assert texts(tmp_path / "a.mkv")["workflow"] == "{}"


def test_planning_an_imported_file_loads_nothing_heavy():
    heavy = ["torch", "diffusers", "transformers", "av", "imageio"]
    code = (
        f"import sys; from lcm_video.importers import importing; importing({str(EXAMPLES / 'tutorial.json')!r});"
        f"sys.exit(', '.join(name for name in {heavy} if name in sys.modules) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr

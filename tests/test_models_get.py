"""models get: downloads, against a small hub served on this machine."""

import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading

import pytest
import torch
from safetensors.torch import save_file


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Hub(http.server.BaseHTTPRequestHandler):
    """As much of Hugging Face's hub as a download needs."""

    content, sha, licence, asked = b"", "", "mit", []

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        if self.path.startswith("/api/models/some/repo"):
            body = json.dumps(
                {"id": "some/repo", "cardData": {"license": self.licence}, "siblings": [], "tags": []}
            ).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        else:
            self.answer(body=True)

    def answer(self, *, body):
        if (
            not self.path.startswith("/some/repo/resolve/main/fox.safetensors")
            and "/resolve/" + "c" * 40 not in self.path
        ):
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound" if "some/repo" in self.path else "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").split("-")[0])
        if body:
            type(self).asked.append(start)
        self.send_response(206 if start else 200)
        self.send_header("X-Repo-Commit", "c" * 40)
        self.send_header("ETag", f'"{self.sha}"')
        self.send_header("X-Linked-Etag", f'"{self.sha}"')
        self.send_header("X-Linked-Size", str(len(self.content)))
        self.send_header("Accept-Ranges", "bytes")
        rest = self.content[start:]
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(self.content) - 1}/{len(self.content)}")
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        if body:
            self.wfile.write(rest)


@pytest.fixture
def hub(here):
    path = here / "served.safetensors"
    save_file({"emb_params": torch.arange(20_000.0).reshape(10, 2000)}, path)
    Hub.content, Hub.asked = path.read_bytes(), []
    Hub.sha = hashlib.sha256(Hub.content).hexdigest()
    path.unlink()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def get(hub, *arguments):
    """Runs ``models get`` in a process of its own, as the address of the hub is read when it begins."""
    environment = {**os.environ, "HF_ENDPOINT": hub, "HF_HOME": os.path.abspath("hf")}
    command = [sys.executable, "-c", "from lcm_video.cli import main; main()", "models", "get", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=120)


@pytest.mark.network
def test_get_downloads_checks_and_says_the_licence(here, hub):
    done = get(hub, "some/repo/fox.safetensors", "--to", "mine", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (here / "mine/fox.safetensors").read_bytes() == Hub.content
    assert told["sha256"] == Hub.sha
    assert told["verified"]
    assert told["licence"] == "mit"
    Hub.asked.clear()
    again = get(hub, "some/repo/fox.safetensors", "--to", "mine")
    assert "licence  mit" in again.stdout
    assert not Hub.asked, "it was there already"


@pytest.mark.network
def test_get_refuses_what_is_not_what_the_hub_says(here, hub):
    Hub.sha = "0" * 64
    done = get(hub, "some/repo/fox.safetensors", "--to", "mine")
    assert done.returncode == 4
    assert "fox.safetensors is damaged: its SHA-256 is" in done.stderr
    assert not (here / "mine/fox.safetensors").exists()
    (here / "mine/fox.safetensors").write_text("mine")
    done = get(hub, "some/repo/fox.safetensors", "--to", "mine")
    assert done.returncode == 4
    assert "is there, and is another file" in done.stderr
    assert (here / "mine/fox.safetensors").read_text() == "mine"


@pytest.mark.network
def test_get_goes_on_where_it_stopped(here, hub):
    (here / "mine").mkdir()
    (here / f"mine/.fox.safetensors.{Hub.sha[:16]}.part").write_bytes(Hub.content[:30_000])
    (here / f"mine/.fox.safetensors.{'0' * 16}.part").write_bytes(b"a part of another version")
    assert get(hub, "some/repo/fox.safetensors", "--to", "mine").returncode == 0
    assert Hub.asked == [30_000]
    assert (here / "mine/fox.safetensors").read_bytes() == Hub.content


@pytest.mark.network
def test_get_says_what_the_hub_does_not_have(here, hub):
    done = get(hub, "some/repo/owl.safetensors")
    assert done.returncode == 4
    assert "the hub has no owl.safetensors in some/repo" in done.stderr
    done = get("http://127.0.0.1:9", "some/repo/fox.safetensors")
    assert done.returncode == 4
    assert "could not be downloaded" in done.stderr
    assert "it goes on where it stopped" in done.stderr

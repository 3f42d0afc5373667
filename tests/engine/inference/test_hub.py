"""Models are loaded from and pushed to a Hub, here an imitation on the loopback."""

import base64
import hashlib
import json
import os
import subprocess
import sys
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ipsam

COMMIT = "1" * 40
LOAD = """
import sys, numpy as np, ipsam
np.save(sys.argv[3], ipsam.load(sys.argv[1], device="cpu").predict(np.load(sys.argv[2])).prob)
"""
PUSH = """
import sys, ipsam
print(ipsam.load(sys.argv[1], device="cpu").push_to_hub(sys.argv[2], private=True))
"""


class Hub:
    """Repositories by id, each a dictionary of files."""

    def __init__(self) -> None:
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.asked: list[str] = []
        self.refuse = False
        self.address = ""

    def handler(self) -> type[BaseHTTPRequestHandler]:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self, content: Any, status: int = 200, **headers: str) -> None:
                body = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name.replace("_", "-"), value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            def nothing(self) -> None:
                self.answer({"error": "Repository not found"}, 404, X_Error_Code="RepoNotFound")

            def do_GET(self) -> None:
                hub.asked.append(f"{self.command} {self.path}")
                for repo, files in hub.repositories.items():
                    if self.path.startswith(f"/api/models/{repo}/revision/"):
                        siblings = [{"rfilename": name, "size": len(content)} for name, content in files.items()]
                        return self.answer(
                            {"id": repo, "sha": COMMIT, "siblings": siblings, "private": False, "tags": []}
                        )
                    if self.path.startswith(f"/api/models/{repo}/tree/"):
                        return self.answer(
                            [{"type": "file", "oid": n, "size": len(c), "path": n} for n, c in files.items()]
                        )
                    for name, content in files.items():
                        if self.path in (f"/{repo}/resolve/{COMMIT}/{name}", f"/{repo}/resolve/main/{name}"):
                            etag = f'"{hashlib.sha1(content).hexdigest()}"'
                            return self.answer(content, ETag=etag, X_Repo_Commit=COMMIT)
                return self.nothing()

            def do_HEAD(self) -> None:
                self.do_GET()

            def do_POST(self) -> None:
                hub.asked.append(f"POST {self.path}")
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if hub.refuse:
                    return self.answer({"error": "You don't have the right"}, 403)
                if self.path == "/api/repos/create":
                    asked = json.loads(body)
                    repo = f"{asked['organization']}/{asked['name']}" if asked.get("organization") else asked["name"]
                    hub.repositories.setdefault(repo, {})
                    return self.answer({"url": f"{hub.address}/{repo}", "id": repo, "name": repo})
                if "/preupload/" in self.path:
                    entries = json.loads(body)["files"]
                    files = [{"path": e["path"], "uploadMode": "regular", "shouldIgnore": False} for e in entries]
                    return self.answer({"files": files})
                if "/commit/" in self.path:
                    repo = self.path.removeprefix("/api/models/").partition("/commit/")[0]
                    for line in body.splitlines():
                        entry = json.loads(line)
                        if entry["key"] == "file":
                            content = base64.b64decode(entry["value"]["content"])
                            hub.repositories[repo][entry["value"]["path"]] = content
                    url = f"{hub.address}/{repo}/commit/{COMMIT}"
                    return self.answer({"commitUrl": url, "commitOid": COMMIT, "success": True, "hookOutput": ""})
                return self.answer({})

        return Handler


@pytest.fixture
def hub(server: Any, tmp_path: Path, checkpoint: Path) -> Any:
    """The Hub with a model ``me/small``, and a way to run Python against it."""
    hub = Hub()
    address = hub.address = server(hub.handler())
    saved = ipsam.load(checkpoint, device="cpu").save_pretrained(tmp_path / "saved")
    files = {path.name: path.read_bytes() for path in saved.iterdir()}
    hub.repositories["me/small"] = files | {"evil.py": b"raise SystemExit('run')", "notes.txt": b"not for us"}

    def run(code: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        variables = {"HF_ENDPOINT": address, "HF_HOME": str(tmp_path / "hf"), "HF_TOKEN": "hf_loopback"}
        return subprocess.run(
            [sys.executable, "-c", code, *arguments],
            env=os.environ | variables | environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )

    return hub, run


def test_model_is_fetched_once_and_gives_the_same_bits(
    hub: Any, checkpoint: Path, picture: np.ndarray, tmp_path: Path
) -> None:
    fake, run = hub
    np.save(tmp_path / "picture.npy", picture)
    for environment in ({}, {"HF_HUB_OFFLINE": "1"}):
        fake.asked.clear()
        done = run(LOAD, "me/small", "picture.npy", "prob.npy", **environment)
        assert done.returncode == 0, done.stderr
        expected = ipsam.load(checkpoint, device="cpu").predict(picture).prob
        assert np.array_equal(np.load(tmp_path / "prob.npy"), expected)
        (tmp_path / "prob.npy").unlink()
    assert fake.asked == []
    fetched = {path.name for path in (tmp_path / "hf").rglob("*") if path.is_symlink()}
    assert fetched == {"config.json", "model.safetensors", "README.md"}


def test_pushed_model_is_loaded_again(hub: Any, picture: np.ndarray, tmp_path: Path) -> None:
    fake, run = hub
    done = run(PUSH, str(tmp_path / "saved"), "you/new")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"{fake.address}/you/new/commit/{COMMIT}"
    files = {path.name: path.read_bytes() for path in (tmp_path / "saved").iterdir()}
    assert fake.repositories["you/new"] == files
    np.save(tmp_path / "picture.npy", picture)
    assert run(LOAD, "you/new", "picture.npy", "prob.npy").returncode == 0


@pytest.mark.parametrize(
    ("source", "environment", "message"),
    [
        ("me/none", {}, "FileNotFoundError: no model me/none on the Hugging Face Hub: "),
        ("me/..", {}, "FileNotFoundError: no model me/.. on the Hugging Face Hub: "),
        (
            "me/other",
            {},
            "ValueError: me/other on the Hub is not an ipsam model: it has no config.json and no model.safetensors",
        ),
        (
            "me/small",
            {"HF_ENDPOINT": "http://127.0.0.1:9"},
            "FileNotFoundError: the model me/small could not be fetched from the Hugging Face Hub: ",
        ),
    ],
)
def test_missing_model_or_hub_is_named(
    hub: Any, tmp_path: Path, source: str, environment: dict[str, str], message: str
) -> None:
    fake, run = hub
    fake.repositories["me/other"] = {"README.md": b"x"}
    np.save(tmp_path / "picture.npy", np.zeros((4, 4), np.uint8))
    done = run(LOAD, source, "picture.npy", "prob.npy", **environment)
    assert done.returncode == 1
    error = [line for line in done.stderr.splitlines() if line.startswith(("FileNotFoundError", "ValueError"))][-1]
    assert error.startswith(message)


def test_refused_push_is_named(hub: Any, tmp_path: Path) -> None:
    fake, run = hub
    fake.refuse = True
    done = run(PUSH, str(tmp_path / "saved"), "you/new")
    assert done.returncode == 1
    assert "OSError: you/new could not be written on the Hugging Face Hub: " in done.stderr

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

from ipsam.engine.inference.predictor import Predictor

COMMIT = "1" * 40
LOAD = """
import json, numpy as np, ipsam
model = ipsam.load("me/small", device="cpu")
np.save("prob.npy", model.predict(np.load("picture.npy")).prob)
"""
PUSH_AND_FAIL = """
def outcome(call, name):
    try:
        return str(call(name))
    except Exception as error:
        return f"{type(error).__name__}: {error}"

outcomes = {name: outcome(model.push_to_hub, name) for name in ("you/new", "you/refused")}
outcomes |= {name: outcome(ipsam.load, name) for name in ("me/none", "me/other", "me/down")}
ipsam.load("you/new", device="cpu")
print(json.dumps(outcomes))
"""


class Hub:
    """Repositories by id, each a dictionary of files."""

    def __init__(self) -> None:
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.asked: list[str] = []
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
                if "me/down" in self.path:
                    return self.answer({"error": "down"}, 500)
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
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.path == "/api/repos/create":
                    repo = "{organization}/{name}".format(**json.loads(body))
                    if repo == "you/refused":
                        return self.answer({"error": "You don't have the right"}, 403)
                    hub.repositories.setdefault(repo, {})
                    return self.answer({"url": f"{hub.address}/{repo}", "id": repo, "name": repo})
                if "/preupload/" in self.path:
                    entries = json.loads(body)["files"]
                    files = [{"path": e["path"], "uploadMode": "regular", "shouldIgnore": False} for e in entries]
                    return self.answer({"files": files})
                if "/commit/" in self.path:
                    repo = self.path.removeprefix("/api/models/").partition("/commit/")[0]
                    for entry in map(json.loads, body.splitlines()):
                        if entry["key"] == "file":
                            file = entry["value"]
                            hub.repositories[repo][file["path"]] = base64.b64decode(file["content"])
                    url = f"{hub.address}/{repo}/commit/{COMMIT}"
                    return self.answer({"commitUrl": url, "commitOid": COMMIT, "success": True, "hookOutput": ""})
                return self.answer({})

        return Handler


def test_models_are_fetched_once_and_pushed(
    server: Any, predictor: Predictor, picture: np.ndarray, tmp_path: Path
) -> None:
    hub = Hub()
    hub.address = server(hub.handler())
    saved = predictor.save_pretrained(tmp_path / "saved")
    files = {path.name: path.read_bytes() for path in saved.iterdir()}
    hub.repositories["me/small"] = files | {"evil.py": b"raise SystemExit('run')", "notes.txt": b"not for us"}
    hub.repositories["me/other"] = {"README.md": b"x"}
    np.save(tmp_path / "picture.npy", picture)

    def run(code: str, **environment: str) -> str:
        variables = {"HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "hf"), "HF_TOKEN": "hf_loopback"}
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | variables | environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    outcomes = json.loads(run(LOAD + PUSH_AND_FAIL))
    assert outcomes["you/new"] == f"{hub.address}/you/new/commit/{COMMIT}"
    assert hub.repositories["you/new"] == files
    for name, message in (
        ("you/refused", "OSError: you/refused could not be written on the Hugging Face Hub: "),
        ("me/none", "FileNotFoundError: no model me/none on the Hugging Face Hub: "),
        ("me/other", "ValueError: me/other on the Hub is not an ipsam model: it has no config.json and no model.saf"),
        ("me/down", "FileNotFoundError: the model me/down could not be fetched from the Hugging Face Hub: "),
    ):
        assert outcomes[name].startswith(message)
    cached = {path.name for path in (tmp_path / "hf").rglob("models--me--small/snapshots/*/*")}
    assert cached == {"config.json", "model.safetensors", "README.md"}
    hub.asked.clear()
    online = np.load(tmp_path / "prob.npy")
    run(LOAD, HF_HUB_OFFLINE="1")
    assert hub.asked == []
    assert np.array_equal(online, predictor.predict(picture).prob)
    assert np.array_equal(np.load(tmp_path / "prob.npy"), online)

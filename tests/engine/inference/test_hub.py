"""Models are loaded from and pushed to a Hub, here an imitation on the loopback."""

import base64
import hashlib
import json
import re
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from huggingface_hub import constants

import ipsam
from ipsam.engine.inference.predictor import Predictor
from ipsam.engine.runs import model_names
from ipsam.engine.runs.model_names import HubModel

COMMIT = "1" * 40


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
def hub(server: Any, tmp_path: Path, predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """The Hub with a model ``me/small``; huggingface_hub asks it instead of the real one."""
    hub = Hub()
    hub.address = server(hub.handler())
    saved = predictor.save_pretrained(tmp_path / "saved")
    files = {path.name: path.read_bytes() for path in saved.iterdir()}
    hub.repositories["me/small"] = files | {"evil.py": b"raise SystemExit('run')", "notes.txt": b"not for us"}
    monkeypatch.setenv("HF_TOKEN", "hf_loopback")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
    point_to(hub.address, monkeypatch)
    return hub


def point_to(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Do what HF_ENDPOINT does at the import of huggingface_hub."""
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")


def test_model_is_fetched_once_and_gives_the_same_bits(
    hub: Hub, predictor: Predictor, picture: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = predictor.predict(picture).prob
    for offline in (False, True):
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
        hub.asked.clear()
        assert np.array_equal(ipsam.load("me/small", device="cpu").predict(picture).prob, expected)
        assert bool(hub.asked) != offline
    fetched = {path.name for path in (tmp_path / "hf").rglob("*") if path.is_symlink()}
    assert fetched == {"config.json", "model.safetensors", "README.md"}


def test_pushed_model_is_the_saved_one(hub: Hub, predictor: Predictor, tmp_path: Path) -> None:
    address = predictor.push_to_hub("you/new", private=True)
    assert address == f"{hub.address}/you/new/commit/{COMMIT}"
    pushed = dict(hub.repositories["you/new"])
    assert b'ipsam.load("you/new")\n' in pushed.pop("README.md")
    assert pushed == {name: (tmp_path / "saved" / name).read_bytes() for name in pushed}
    hub.refuse = True
    with pytest.raises(OSError, match="you/new could not be written on the Hugging Face Hub: "):
        predictor.push_to_hub("you/new")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("me/none", "no model me/none on the Hugging Face Hub: "),
        ("me/..", r"no model me/\.\. on the Hugging Face Hub: "),
        ("me/other", r"me/other on the Hub is not an ipsam model: it has no config\.json and no model\.safetensors"),
        (
            "me/unreached",
            "me/unreached could not be fetched from the Hugging Face Hub: .*; and there is no folder me/u",
        ),
    ],
)
def test_missing_model_or_hub_is_named(hub: Hub, source: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.repositories["me/other"] = {"README.md": b"x"}
    if source == "me/unreached":
        point_to("http://127.0.0.1:9", monkeypatch)
    with pytest.raises(ValueError if source == "me/other" else FileNotFoundError, match=message):
        ipsam.load(source)


def test_name_loads_the_pinned_commit(
    hub: Hub, predictor: Predictor, picture: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sha256 = hashlib.sha256(hub.repositories["me/small"]["model.safetensors"]).hexdigest()
    monkeypatch.setattr(model_names, "ON_THE_HUB", {"tiny": HubModel("me/small", COMMIT, sha256)})
    monkeypatch.chdir(tmp_path)
    assert "tiny" in model_names.model_names()
    for offline in (False, True):  # the second time from the cache, and still checked
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
        found = ipsam.load("tiny", device="cpu")
        assert np.array_equal(found.predict(picture).prob, predictor.predict(picture).prob)
        assert found.source is not None
        assert found.source.name == COMMIT
    assert any(f"/{COMMIT}" in line for line in hub.asked)
    weights = found.source / "model.safetensors"
    weights.write_bytes(weights.read_bytes() + b"x")
    with pytest.raises(ValueError, match=rf"model\.safetensors, downloaded from me/small, .* not {sha256}; delete it"):
        ipsam.load("tiny")
    with pytest.raises(ValueError, match="revision=main: the name tiny stands for one version; give the id me/small"):
        ipsam.load("tiny", revision="main")


def test_names_on_the_hub_are_pinned() -> None:
    for name, one in model_names.ON_THE_HUB.items():
        assert "/" not in name
        assert re.fullmatch(r"[0-9a-f]{40}", one.revision)
        assert re.fullmatch(r"[0-9a-f]{64}", one.sha256)

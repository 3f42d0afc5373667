"""Requests that the demo refuses, sent to its server."""

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
import requests
from PIL import Image
from support.served_demo import OPTIONS, Served, ask, functions, serve_demo

from ipsam.engine.inference.sharing import save_pretrained
from ipsam.tools.demo.answer import MAX_BYTES

pytest.importorskip("gradio", reason="the extra [demo] is not installed", exc_type=ImportError)
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from ipsam.tools.demo import uploads
from ipsam.tools.demo.guard import Guard

pytestmark = pytest.mark.slow  # starts a server
FILE_DATA = {"meta": {"_type": "gradio.FileData"}}


@pytest.fixture(scope="module")
def served(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    model = save_pretrained(checkpoint, tmp_path_factory.mktemp("model"))
    with serve_demo(model, tmp_path_factory.mktemp("demo")) as demo:
        yield demo
        demo.process.terminate()
        assert demo.process.stdout is not None
        assert demo.process.stdout.read() == ""  # no traceback, no warning


@pytest.fixture
def cached(served: Served, picture: np.ndarray, tmp_path: Path) -> Path:
    """The server's path of an uploaded image."""
    Image.fromarray(picture).save(tmp_path / "pond.png")
    with (tmp_path / "pond.png").open("rb") as file:
        reply = requests.post(f"{served.address}gradio_api/upload", files={"files": file}, timeout=10)
    return Path(reply.json()[0])


def join(served: Served, function: int, data: Any, **more: Any) -> requests.Response:
    question = {"data": data, "fn_index": function, "session_hash": uuid4().hex} | more
    return requests.post(f"{served.address}gradio_api/queue/join", json=question, timeout=10)


def refused(reply: requests.Response) -> bool:
    return reply.status_code == 403 and "Refused" in reply.text and "Traceback" not in reply.text


def test_every_other_file_is_refused_with_the_same_text(served: Served, cached: Path, tmp_path: Path) -> None:
    folder = cached.parents[1]
    os.mkfifo(folder / "fifo.png")
    (folder / "link.png").symlink_to(tmp_path / "pond.png")
    (folder / "loop.png").symlink_to(folder / "loop.png")
    (folder / "folder").symlink_to(tmp_path)
    (folder.parent / "files_too").mkdir()
    (folder.parent / "files_too" / "pond.png").write_bytes(cached.read_bytes())
    private = [
        tmp_path / "pond.png", tmp_path / "missing.png", tmp_path, folder, cached.parent, folder / "missing.png",
        folder / "fifo.png", folder / "link.png", folder / "loop.png", folder / "folder" / "pond.png",
        f"{folder}/../files_too/pond.png", f"{folder}_too/pond.png", "/dev/zero", "a" * 5000,
        "http://192.0.2.1/pond.png", f"file://{cached}", "",
    ]  # fmt: skip
    upload = functions(served.address)["upload"]
    texts = set()
    for path in map(str, private):
        for form in ({}, FILE_DATA, {"url": f"{served.address}gradio_api/file={cached}"}):
            reply = join(served, upload, [{"path": path} | form, None, *OPTIONS])
            assert refused(reply), (path, form, reply.text)
            texts.add(reply.text)
    assert len(texts) == 1
    texts = set()
    for path in map(str, private):
        for prefix in ("gradio_api/file=", "file=", "gradio_api/file/", "file/", "gradio_api/proxy="):
            reply = requests.get(f"{served.address}{prefix}{path}", timeout=10)
            assert refused(reply), (prefix, path, reply.text)
            texts.add(reply.text)
    assert len(texts) == 1
    for name in ("fifo.png", "link.png", "loop.png", "folder"):
        (folder / name).unlink()
    reply = requests.get(f"{served.address}gradio_api/file={cached}", timeout=10)
    assert reply.content == cached.read_bytes()


def test_malformed_call_is_refused_without_a_traceback(served: Served, cached: Path) -> None:
    events = functions(served.address)
    good = {"path": str(cached)} | FILE_DATA
    calls: list[tuple[Any, Any, dict[str, Any]]] = [
        *((events["upload"], [bad, None, *OPTIONS], {}) for bad in (
            str(cached), 5, {}, {"path": [str(cached)]}, {"path": "\0"}, {"path": "\ud800"}, {"url": served.address},
            good | {"meta": {}}, good | {"is_stream": "perhaps"},
        )),
        *((events["upload"], data, {}) for data in (None, "text", [], [good], [good, None], [good, None, *OPTIONS, 1])),
        *((events["upload"], [None, bad, *OPTIONS], {}) for bad in ({"path": "/etc/passwd"}, "/etc/passwd", 1)),
        *((events["upload"], [None, None, *OPTIONS[:-1], bad], {}) for bad in (good, {"path": "/"}, [], [1])),
        *((function, [None, None, *OPTIONS], {}) for function in (None, "0", 10_000, -1, 2**70)),
        *((events["upload"], [good, None, *OPTIONS], more) for more in (
            {"batched": True}, {"trigger_id": "x"}, {"session_hash": None}, {"event_data": 5},
        )),
        (events["clear"], ["/etc/passwd"], {}),
        (events["click"], [good], {}),
        (events["input"], [], {}),
    ]  # fmt: skip
    for function, data, more in calls:
        reply = join(served, function, data, **more)
        assert refused(reply) or reply.status_code == 422, (function, data, more, reply.text)
    for body in (b"", b"{", b"5", b"[]", b"null", b"\xff", b"[" * 100_000):
        headers = {"Content-Type": "application/json"}
        reply = requests.post(f"{served.address}gradio_api/queue/join", data=body, headers=headers, timeout=10)
        assert reply.status_code in (400, 403, 422)
    for event_data in (None, {}, {"name": "../easy"}, {"name": {"path": "/"}}, "/"):
        reply = ask(served.address, events["click"], event_data=event_data)
        assert reply["success"] is False, event_data
        assert "Refused" in json.dumps(reply), event_data
    assert ask(served.address, events["click"], event_data={"name": "easy"})["success"] is True
    assert ask(served.address, events["upload"], good)["success"] is True


def test_unused_endpoints_are_refused(served: Served, cached: Path) -> None:
    for path in (
        "run/predict", "component_server", "queue/status", "queue/join/", "proxy=http://192.0.2.1/", "%66ile/x",
        "file=http://192.0.2.1/a.png", "stream/x", "deep_link?session_hash=x", f"file=%2e%2e{cached}", "../monitoring",
    ):  # fmt: skip
        for method in ("GET", "POST", "HEAD", "PUT"):
            reply = requests.request(method, f"{served.address}gradio_api/{path}", timeout=10)
            assert reply.status_code == 403, (method, path)
    for path in ("docs", "openapi.json", "monitoring", "login", "logout", "gradio_api", "static", "robots.txt/"):
        assert refused(requests.get(served.address + path, timeout=10)), path


def test_foreign_hosts_are_refused(served: Served) -> None:
    port = served.address.rstrip("/").rpartition(":")[2]
    foreign = (
        f"evil.example:{port}", "127.0.0.1.evil.example", "evil.localhost", "192.168.1.5", "127.0.0.1:80@evil.example",
        "evil.example/127.0.0.1", "", "[::1", "[::2]", "\xff",
    )  # fmt: skip
    for path in ("", "config", "static/img/logo.svg", "gradio_api/startup-events", "nowhere"):
        for host in foreign:
            assert refused(requests.get(served.address + path, headers={"Host": host}, timeout=10)), (path, host)
    for host in ("127.0.0.1", "LOCALHOST", f"127.0.0.1:{port}", "localhost:9000", f"[::1]:{port}"):
        assert requests.get(served.address, headers={"Host": host}, timeout=10).status_code == 200, host
        origin = {"Host": host, "Origin": f"http://{host}"}
        assert requests.get(f"{served.address}config", headers=origin, timeout=10).status_code == 200, host


def test_foreign_origins_are_refused(served: Served) -> None:
    host = served.address.removeprefix("http://").rstrip("/")
    for origin in (
        "http://evil.example",
        "null",
        "http://127.0.0.1",
        f"http://{host}0",
        "http://[",
        f"http://x@{host}",
    ):
        for path in ("queue/join", "upload", "cancel", "startup-events"):
            address = f"{served.address}gradio_api/{path}"
            assert refused(requests.post(address, headers={"Origin": origin}, json={}, timeout=10)), (origin, path)


def test_every_response_has_the_security_headers(served: Served, cached: Path) -> None:
    expected = {"X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
    pages = "", "config", "theme.css", f"gradio_api/file={cached}", "nowhere", "assets/nowhere", "gradio_api/upload"
    for path in pages:
        headers = requests.get(served.address + path, timeout=10).headers
        assert {name: headers[name] for name in expected} == expected
        policy = headers["Content-Security-Policy"]
        assert all(directive in policy for directive in ("frame-ancestors 'none'", "default-src 'none'"))
        assert not any(source in policy for source in ("http", "*"))


def test_uploads_without_disk_space_are_refused(served: Served, cached: Path) -> None:
    address = f"{served.address}gradio_api/upload"
    folder = cached.parents[1]
    cutouts = list(folder.rglob("*_cutout.png"))
    full = cached.parent / "full"
    full.touch()
    os.truncate(full, uploads.MAX_KEPT)  # a sparse file
    reply = requests.post(address, files={"files": b"more"}, timeout=10)
    assert reply.status_code == 507
    assert "too many pictures" in reply.text
    events = functions(served.address)
    assert ask(served.address, events["upload"], {"path": str(cached)} | FILE_DATA)["success"] is True
    assert list(folder.rglob("*_cutout.png")) == cutouts
    assert full.exists()  # it is recent
    full.unlink()
    assert requests.post(address, files={"files": b"more"}, timeout=10).status_code == 200


def test_requests_without_length_or_too_large_are_refused(served: Served) -> None:
    host, port = served.address.removeprefix("http://").rstrip("/").split(":")
    for path, header, status in (
        ("upload", "Transfer-Encoding: chunked", 411),
        ("upload", f"Content-Length: {2 * MAX_BYTES}", 413),
        ("queue/join", f"Content-Length: {MAX_BYTES}", 413),
    ):
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall(f"POST /gradio_api/{path} HTTP/1.1\r\nHost: {host}\r\n{header}\r\n\r\n".encode())
            assert connection.recv(100).startswith(f"HTTP/1.1 {status}".encode()), (path, header)


@pytest.mark.parametrize(
    ("host", "own", "foreign"),
    [
        ("0.0.0.0", ["0.0.0.0", "192.168.1.5:7860", "[::2]:80", socket.gethostname()], ["evil.example", "1.2", ""]),
        ("192.168.1.5", ["192.168.1.5:7860", "localhost"], ["192.168.1.6", socket.gethostname(), "evil.example"]),
        ("Demo.example", ["demo.example", "127.0.0.1:7860"], ["example", "x.demo.example", "192.168.1.5"]),
    ],
)
def test_served_hosts(host: str, own: list[str], foreign: list[str]) -> None:
    client = TestClient(Guard(PlainTextResponse("page"), host=host))
    for name in own:
        assert client.get("/", headers={"Host": name}).text == "page", name
    for name in foreign:
        assert client.get("/", headers={"Host": name}).status_code == 403, name


def test_names_of_a_proxy_are_served_and_websockets_refused() -> None:
    client = TestClient(Guard(PlainTextResponse("page"), host="127.0.0.1", names=["Demo.example.org"]))
    own, foreign = "https://demo.example.org", "https://evil.example"
    assert client.get("/", headers={"Host": "demo.example.org", "Origin": own}).text == "page"
    assert client.get("/", headers={"Host": "localhost:7860", "Origin": own}).text == "page"  # the proxy rewrites Host
    assert client.get("/", headers={"Host": "localhost:7860", "Origin": foreign}).status_code == 403
    assert client.get("/", headers={"Host": "evil.example"}).status_code == 403
    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/", headers={"Host": "localhost"}):
        pass

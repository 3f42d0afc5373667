"""Downloads from a server on the loopback that drops connections, sends wrong bytes, or does not exist."""

import errno
import hashlib
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from support.quick import every
from support.saved import failing, names

from ipsam.engine.runs import fetch as fetching
from ipsam.engine.runs.fetch import fetch, find_base
from ipsam.model import sam2_checkpoints
from ipsam.model.sam2_checkpoints import OfficialFile

CONTENT = bytes(range(256)) * 8000  # two megabytes
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "TIMEOUT", 2)
    monkeypatch.setattr(fetching.time, "sleep", lambda _: None)


@pytest.fixture
def files(server: Any) -> Any:
    """A server of CONTENT: the first ``drops`` connections break, ``ranges`` says whether it can resume."""

    def start(
        *, drops: int = 0, ranges: bool = True, content: bytes = CONTENT, status: int = 200
    ) -> tuple[str, list[Any]]:
        requests: list[Any] = []

        class Files(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                requests.append(self.headers.get("Range"))
                begin = int((requests[-1] or "bytes=0-")[6:-1]) if ranges else 0
                if status != 200 or (begin and begin >= len(content)):
                    self.send_error(416 if begin else status)
                    return
                self.send_response(206 if begin else 200)
                self.send_header("Content-Length", str(len(content) - begin))
                self.end_headers()
                rest = content[begin:]
                broken = len(requests) <= drops
                self.wfile.write(rest[: len(rest) // 3] if broken else rest)
                if broken:
                    self.connection.close()

        return f"{server(Files)}/file.pt", requests

    return start


def test_file_is_fetched_once(files: Any, tmp_path: Path) -> None:
    url, requests = files()
    for _ in range(2):
        assert fetch(url, tmp_path / "new" / "file.pt", sha256=SHA256).read_bytes() == CONTENT
    assert requests == [None]
    assert names(tmp_path / "new") == ["file.pt"]


def test_broken_connections_are_resumed(files: Any, tmp_path: Path) -> None:
    url, requests = files(drops=3)
    assert fetch(url, tmp_path / "file.pt", sha256=SHA256).read_bytes() == CONTENT
    begins = [int(sent[6:-1]) for sent in requests[1:]]
    assert len(requests) == 4
    assert 0 < begins[0] < begins[1] < begins[2]
    assert names(tmp_path) == ["file.pt"]


def test_a_later_call_resumes(files: Any, tmp_path: Path) -> None:
    url, requests = files(drops=7)
    with pytest.raises(OSError, match=rf"{url} can't be fetched: .*The part so far is kept: try again"):
        fetch(url, tmp_path / "file.pt", sha256=SHA256)
    assert names(tmp_path) == [".file.pt.part"]
    assert fetch(url, tmp_path / "file.pt", sha256=SHA256).read_bytes() == CONTENT
    assert len(requests) == 8
    assert requests[5] is not None


def test_one_of_several_processes_fetches(files: Any, tmp_path: Path) -> None:
    url, requests = files(drops=1)
    with ThreadPoolExecutor(2) as pool:
        fetched = [pool.submit(fetch, url, tmp_path / "file.pt", sha256=SHA256) for _ in range(2)]
        assert all(one.result().read_bytes() == CONTENT for one in fetched)
    assert len(requests) == 2  # of one of them, whose connection broke once
    assert names(tmp_path) == ["file.pt"]


def test_without_ranges_the_download_starts_over(files: Any, tmp_path: Path) -> None:
    url, _ = files(drops=2, ranges=False)
    assert fetch(url, tmp_path / "file.pt", sha256=SHA256).read_bytes() == CONTENT


def test_complete_part_is_taken(files: Any, tmp_path: Path) -> None:
    url, _ = files()
    (tmp_path / ".file.pt.part").write_bytes(CONTENT)
    assert fetch(url, tmp_path / "file.pt", sha256=SHA256).read_bytes() == CONTENT


@pytest.mark.parametrize("tag", every(2, ["ETag", "Last-Modified", "weak", "none"]))
@pytest.mark.parametrize("obeys", [True, False], ids=["obeys", "ignores_if_range"])
def test_old_and_new_file_are_never_spliced(server: Any, tmp_path: Path, tag: str, obeys: bool) -> None:
    """The server's file changes after the connection broke, and nobody knows its digest."""
    versions, ranges = [b"old" * 100_000, b"new" * 90_000], []

    class Files(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = versions[min(len(ranges), 1)]
            version = {"ETag": f'"{content[:3].decode()}"', "weak": 'W/"1"'}.get(tag, f"the date of {content[:3]!r}")
            ranges.append(self.headers.get("Range"))
            is_same = not obeys or self.headers.get("If-Range") in (None, version)
            begin = int(ranges[-1][6:-1]) if ranges[-1] and is_same else 0
            self.send_response(206 if begin else 200)
            if tag != "none":
                self.send_header("ETag" if tag == "weak" else tag, version)
            self.send_header("Content-Length", str(len(content) - begin))
            self.end_headers()
            self.wfile.write(content[begin:] if len(ranges) > 1 else content[:100_000])
            if len(ranges) == 1:
                self.connection.close()

    assert fetch(f"{server(Files)}/file.zip", tmp_path / "file.zip").read_bytes() == versions[1]
    assert names(tmp_path) == ["file.zip"]


def test_full_disk_is_named_with_the_file(files: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url, _ = files()
    monkeypatch.setattr(fetching, "_append", failing(errno.ENOSPC))
    with pytest.raises(OSError, match="No space left") as error:
        fetch(url, tmp_path / "file.pt")
    assert error.value.filename == str(tmp_path / "file.pt")


def test_wrong_bytes_are_deleted(files: Any, tmp_path: Path) -> None:
    url, _ = files(content=b"<html>login</html>")
    with pytest.raises(ValueError, match=rf"{url} is not the expected file: its sha256 is not {SHA256}"):
        fetch(url, tmp_path / "file.pt", sha256=SHA256)
    assert names(tmp_path) == []


@pytest.mark.parametrize(("status", "answer"), [(404, "404 Not Found"), (403, "403 Forbidden"), (503, "503")])
def test_dead_links_are_named(files: Any, tmp_path: Path, status: int, answer: str) -> None:
    url, requests = files(status=status)
    with pytest.raises(OSError, match=rf"{url} can't be fetched: the server answers {answer}"):
        fetch(url, tmp_path / "file.pt", sha256=SHA256)
    assert len(requests) == 1
    assert names(tmp_path) == []
    with pytest.raises(OSError, match=r"http://127\.0\.0\.1:9/file\.pt can't be fetched"):  # no server
        fetch("http://127.0.0.1:9/file.pt", tmp_path / "file.pt")


def test_base_weights_are_found_or_fetched_once(files: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url, requests = files()
    monkeypatch.setattr(sam2_checkpoints, "URL", url.rpartition("/")[0])
    monkeypatch.setitem(sam2_checkpoints.OFFICIAL_FILES, "file.pt", OfficialFile("file.pt", SHA256, len(CONTENT)))
    monkeypatch.setenv("IPSAM_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert find_base("/somewhere/else/file.pt") == tmp_path / "cache" / "file.pt"
    assert len(requests) == 1
    for path in (Path("checkpoints/file.pt"), tmp_path / "given.pt"):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"mine")
    assert find_base("file.pt").read_bytes() == b"mine"
    assert find_base(tmp_path / "given.pt") == tmp_path / "given.pt"
    assert find_base("unknown.pt") == Path("unknown.pt")  # loading it names what is missing
    assert len(requests) == 1

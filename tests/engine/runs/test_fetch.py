"""Downloads from a server on the loopback that drops connections, serves wrong bytes, or is not there."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

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
    """A server of CONTENT; ``drops`` connections break after a part, ``ranges`` tells whether it can go on."""

    def start(
        *, drops: int = 0, ranges: bool = True, content: bytes = CONTENT, status: int = 200
    ) -> tuple[str, list[Any]]:
        asked: list[Any] = []

        class Files(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(self.headers.get("Range"))
                begin = 0
                if status != 200:
                    self.send_error(status)
                    return
                if ranges and asked[-1]:
                    begin = int(asked[-1].removeprefix("bytes=").removesuffix("-"))
                    if begin >= len(content):
                        self.send_error(416)
                        return
                    self.send_response(206)
                else:
                    self.send_response(200)
                self.send_header("Content-Length", str(len(content) - begin))
                self.end_headers()
                rest = content[begin:]
                if len(asked) <= drops:
                    self.wfile.write(rest[: len(rest) // 3])
                    self.connection.close()
                else:
                    self.wfile.write(rest)

        return f"{server(Files)}/file.pt", asked

    return start


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_fetched_once(files: Any, tmp_path: Path) -> None:
    url, asked = files()
    for _ in range(2):
        assert fetch(url, tmp_path / "new" / "file.pt", sha256=SHA256).read_bytes() == CONTENT
    assert asked == [None]
    assert names(tmp_path / "new") == ["file.pt"]


def test_dropped_connections_are_taken_up(files: Any, tmp_path: Path) -> None:
    url, asked = files(drops=3)
    assert fetch(url, tmp_path / "file.pt", sha256=SHA256).read_bytes() == CONTENT
    assert len(asked) == 4
    begins = [int(range_.removeprefix("bytes=").removesuffix("-")) for range_ in asked[1:]]
    assert begins == sorted(set(begins))
    assert begins[0] > 0
    assert names(tmp_path) == ["file.pt"]


def test_given_up_and_taken_up_another_day(files: Any, tmp_path: Path) -> None:
    url, asked = files(drops=7)
    with pytest.raises(OSError, match=rf"{url} can't be fetched: .*The part so far is kept: try again"):
        fetch(url, tmp_path / "file.pt", sha256=SHA256)
    assert names(tmp_path) == [".file.pt.part"]
    assert fetch(url, tmp_path / "file.pt", sha256=SHA256).read_bytes() == CONTENT
    assert len(asked) == 8
    assert asked[5] is not None


def test_two_that_fetch_one_file_do_not_disturb_each_other(files: Any, tmp_path: Path) -> None:
    url, asked = files(drops=1)
    with ThreadPoolExecutor(2) as pool:
        fetched = [pool.submit(fetch, url, tmp_path / "file.pt", sha256=SHA256) for _ in range(2)]
        assert all(one.result().read_bytes() == CONTENT for one in fetched)
    assert len(asked) == 2  # of one of them, whose connection broke once
    assert names(tmp_path) == ["file.pt"]


def test_a_server_that_can_not_go_on_begins_anew(files: Any, tmp_path: Path) -> None:
    url, _ = files(drops=2, ranges=False)
    assert fetch(url, tmp_path / "file.pt", sha256=SHA256).read_bytes() == CONTENT


def test_whole_but_not_yet_in_its_place(files: Any, tmp_path: Path) -> None:
    url, _ = files()
    (tmp_path / ".file.pt.part").write_bytes(CONTENT)
    assert fetch(url, tmp_path / "file.pt", sha256=SHA256).read_bytes() == CONTENT


def test_wrong_bytes_are_thrown_away(files: Any, tmp_path: Path) -> None:
    url, _ = files(content=b"<html>login</html>")
    with pytest.raises(ValueError, match=rf"{url} is not the expected file: its sha256 is not {SHA256}"):
        fetch(url, tmp_path / "file.pt", sha256=SHA256)
    assert names(tmp_path) == []


@pytest.mark.parametrize(("status", "told"), [(404, "404 Not Found"), (403, "403 Forbidden"), (503, "503")])
def test_dead_links(files: Any, tmp_path: Path, status: int, told: str) -> None:
    url, asked = files(status=status)
    with pytest.raises(OSError, match=rf"can't be fetched: the server answers {told}"):
        fetch(url, tmp_path / "file.pt", sha256=SHA256)
    assert len(asked) == 1
    assert names(tmp_path) == []


def test_no_server(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"http://127\.0\.0\.1:9/file\.pt can't be fetched"):
        fetch("http://127.0.0.1:9/file.pt", tmp_path / "file.pt")


class TestBaseWeights:
    @pytest.fixture
    def official(self, files: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
        """An official file that the server on the loopback has."""
        url, asked = files()
        monkeypatch.setattr(sam2_checkpoints, "URL", url.rpartition("/")[0])
        file = OfficialFile("file.pt", SHA256, len(CONTENT))
        monkeypatch.setitem(sam2_checkpoints.OFFICIAL_FILES, "file.pt", file)
        monkeypatch.setenv("IPSAM_CACHE", str(tmp_path / "cache"))
        monkeypatch.chdir(tmp_path)
        return asked

    def test_it_is_fetched_to_the_cache_once(self, official: list[Any], tmp_path: Path) -> None:
        for _ in range(2):
            found = find_base("/somewhere/else/file.pt")
            assert found == tmp_path / "cache" / "file.pt"
            assert found.read_bytes() == CONTENT
        assert len(official) == 1

    def test_what_is_there_is_taken(self, official: list[Any], tmp_path: Path) -> None:
        (tmp_path / "checkpoints").mkdir()
        (tmp_path / "checkpoints/file.pt").write_bytes(b"mine")
        assert find_base("file.pt").read_bytes() == b"mine"
        (tmp_path / "given.pt").write_bytes(b"given")
        assert find_base(tmp_path / "given.pt") == tmp_path / "given.pt"
        assert find_base("unknown.pt") == Path("unknown.pt")  # whoever loads it will say what is missing
        assert official == []

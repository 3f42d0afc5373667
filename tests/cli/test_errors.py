"""Errors of every command: status 1, one sentence with the option or file and the way out, and nothing written."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.figure_runs import write_run, write_set
from support.paper_runs import save_methods, scores
from support.quick import every
from support.saved_maps import mask_of, save, write_maps, write_masks
from support.small_run import TINY

from ipsam.cli.errors import user_errors
from ipsam.model import IPSAM

SET = "{name: own, images: own/images, masks: own/masks}"
GIVEN = {  # whatever the case is about
    "train": [*TINY, "run_dir=new"],
    "eval": ["ckpt=run"],
    "predict": ["input=own/images", "output=out"],
    "score": ["maps=One", "masks=CAMO", "num_workers=0"],
    "visualize": ["ckpt=run"],
    "check_data": ["num_workers=0"],
}
WHOLE = "whole number"
CHECKSUM = "0" * 63 + "a"
# Command and arguments, and what the message must hold: option or file, bad value, way out.
CASES: list[tuple[str, list[str], list[str]]] = [
    ("train", ["data.image_size=100"], ["image_size", "multiple of 32", "100"]),
    ("train", ["data.image_size='???'"], ["image_size"]),
    ("train", ["engine.epochs=many"], ["engine.epochs", WHOLE, "'many'"]),
    ("train", ["engine.lr=1e-9"], ["engine", "min_lr", "lr=1e-09"]),
    ("train", ["engine.best=accuracy"], ["engine.best", "mae, fw, sm", "accuracy"]),
    ("train", ["+engine.epoch=3"], ["engine.epoch", "epochs"]),
    ("train", ["+data.augment.colour=3"], ["data.augment.colour"]),
    ("train", ["+model.decoder.colour=red"], ["model.decoder", "colour"]),
    ("train", ["data.train=[]"], ["data.train"]),
    ("train", ["data.train=CAMO"], ["data.train", "list", "'CAMO'"]),
    ("train", ["data.train=[CAMOU]"], ["'CAMOU'", "COD10K, CAMO, "]),
    ("train", ["data.test=[synthetic,synthetic]"], ["test", "synthetic more than once"]),
    ("train", ["data.test=[synthetic,CAMO]", "paths.data=none"], ["CAMO/test: not found in none"]),
    ("train", ["model.backbone.lora={_target_: ipsam.model.LoRA, rank: 0}"], ["model.backbone.lora", "rank", "0"]),
    ("train", ["model.backbone.variant=huge"], ["model.backbone", "huge", "large"]),
    ("train", ["model.decoder._target_=os.system"], ["model.decoder._target_", "'os.system'", "ipsam.model."]),
    ("train", ["model.self_prompt=null"], ["gating"]),
    ("train", ["model.backbone.checkpoint=none.pt"], ["model.backbone", "no SAM2 checkpoint at none.pt"]),
    (
        "train",
        ["model.backbone.checkpoint=a file"],
        ["model.backbone", "a file is damaged or not a PyTorch checkpoint"],
    ),
    ("train", ["seed=-1"], ["seed", WHOLE, "-1"]),
    ("export", ["ckpt=nowhere", "output=model.xyz"], ["model.xyz", ".onnx"]),  # before the model is loaded
    ("export", ["ckpt=nowhere", "output=own"], ["own", ".onnx"]),
    ("export", ["ckpt=nowhere", "output=a.onnx", "precision=int8"], ["precision=int8", "calibration=FOLDER"]),
    ("export", ["output=a.onnx", "precision=int8", "calibration=."], ["calibration=.", "no pictures directly"]),
    ("export", ["ckpt=nowhere", "output=/proc/a.pt2"], ["output=/proc/a.pt2: can't be written", "set output=FILE"]),
    ("train", ["resume=true", "overwrite=true"], ["resume", "overwrite"]),
    ("train", ["run_dir=run"], ["run", "resume=true", "overwrite=true"]),
    ("train", ["run_dir=a file/run"], ["a file/run"]),
    (
        "train",
        ["experiment=cod_r32", "data.image_size=64", f"data.train=[{SET}]", "data.test=[]", "paths.data=."],
        ["curl -L --create-dirs -o checkpoints/sam2.1_hiera_large.pt https://dl.fbaipublicfiles.com/"],
    ),
    (
        "train",
        ["experiment=cod_r32", "paths.data=none"],
        ["COD10K/train: not found in none or a folder right below it", "paths.data=FOLDER"],
    ),
    ("eval", ["ckpt=nowhere"], ["no model at nowhere: give the folder of a run"]),
    ("eval", ["data.test=[CAMO]", "paths.data=nowhere"], ["CAMO/test: not found in nowhere"]),
    ("eval", ["data.test=[]"], ["nothing to evaluate", "data.test=["]),
    ("eval", ["data.image_size=100"], ["image_size", "multiple of 32", "100"]),
    ("predict", ["size=100"], ["size=100", "multiple of 32 pixels, not 100"]),
    ("predict", ["background=blurr"], ["background must be blur, or a colour such as white", "'blurr'"]),
    ("eval", ["out=a file"], ["out=a file: can't be made or written to as a folder (File exists)"]),
    ("eval", ["base=nowhere.pt"], ["no SAM2 checkpoint at nowhere.pt"]),
    ("eval", ["engine.epochs=3"], ["epochs"]),
    ("eval", ["protocol=best"], ["protocol", "'best'", "default, float, sam2_adapter"]),
    ("eval", ["ckpt=micro", f"data.test=[{SET}]"], ["shared model", "out=..."]),
    ("eval", ["ckpt=micro", "out=out"], ["test set"]),
    ("predict", ["input=none"], ["none"]),
    ("predict", ["save=[depth]"], ["depth"]),
    ("predict", ["ckpt=none"], ["no model at none: give the folder of a run"]),
    ("predict", ["batch_size=0"], ["batch_size", WHOLE, "0"]),
    ("predict", ["device=foo"], ["device=foo"]),
    ("score", ["maps=null"], ["maps"]),
    ("score", ["maps="], ["maps"]),
    ("score", ["maps=none"], ["maps=none: no such folder"]),
    ("score", ["missing=some"], ["missing", "error", "exclude", "'some'"]),
    ("score", ["resize=bilinear"], ["resize", "true or false", "'bilinear'"]),
    ("score", ["cases=-1"], ["cases", "-1"]),
    ("score", ["protocol={sise: 3}"], ["protocol.sise"]),
    ("score", ["stems=none.txt"], ["stems=none.txt: no such file"]),
    ("score", ["images=none", "out=scores"], ["images=none: no such folder"]),
    ("score", ["out=a file"], ["out=a file: can't be made or written to as a folder (File exists)"]),
    ("score", ["out=/proc/scores"], ["out=/proc/scores: can't be made"]),
    ("score", ["out=One"], ["out=One lies in maps=One"]),
    ("score", ["out=CAMO/../link/new"], ["out=CAMO/../link/new lies in maps=One"]),
    ("score", ["masks=Three/GT", "out=Three/Imgs"], ["out=Three/Imgs lies in the images of Three"]),
    ("visualize", [], ["stems, worst and best"]),
    ("visualize", ["ckpt=micro", f"data.test=[{SET}]", "paths.data=.", "best=1"], ["out="]),
    ("visualize", ["stems=[a]", "worst=1"], ["stems and worst"]),
    ("visualize", ["stems=a"], ["stems=[a,b]", "'a'"]),
    ("visualize", ["stems=[a,x]"], ["no image is called x", "a, b, c and 1 more"]),
    ("visualize", ["stems=[a.png]"], ["no image is called a.png", "file names without"]),
    ("visualize", ["worst=0"], ["worst", WHOLE, "0"]),
    ("visualize", ["best=1", "metric=dice"], ["metric", "mae, fw, sm"]),
    ("visualize", ["best=1", "figure=5"], ["figure", "mechanism", "comparison", "5"]),
    ("visualize", ["best=1", "maps=One"], ["maps=One", "figure=comparison"]),
    ("visualize", ["best=1", "figure=comparison", "maps=none"], ["maps=none: no such folder"]),
    ("visualize", ["best=1", "figure=comparison", "maps=own"], ["maps=own", "METHOD/own/*.png"]),
    ("visualize", ["best=1", "baseline=none"], ["baseline=none: no model at none"]),
    ("visualize", ["best=1", "baseline=own"], ["baseline=own: no checkpoint at own"]),
    ("visualize", ["best=1", "data.test=[]"], ["data.test=["]),
    ("visualize", ["best=1", "data.test=[CAMO]", "paths.data=none"], ["CAMO/test: not found in none"]),
    ("visualize", ["best=1", "base=none.pt"], ["no SAM2 checkpoint at none.pt"]),
    ("visualize", ["best=1", "base={detector: x.pt}"], ["base={detector: ...}", "no detector"]),
    ("visualize", ["best=1", "out=own/images/a.png"], ["out=own/images/a.png: can't be made or written to"]),
    ("visualize", ["figure=comparison", "maps=colour", "stems=[a]"], ["colour/One/own/a.png", "colour"]),
    ("tables", [], ["no folder outputs", "runs=FOLDER"]),
    ("tables", ["runs=null"], ["runs=FOLDER"]),
    ("tables", ["runs=own"], ["no results below own", "config.yaml"]),
    ("tables", ["runs=scores", "out=a file"], ["out=a file: can't be made or written to"]),
    ("tables", ["runs=adapter"], ["adapter/metrics.json", "'sam2_adapter'", "'default'"]),
    ("tables", ["folder=."], ["folder"]),
    ("check_data", ["num_workers=-1"], ["num_workers", "-1"]),
    ("check_data", ["duplicates=some"], ["duplicates", "true or false", "'some'"]),
    ("check_data", ["out=a file"], ["out=a file: can't be made or written to"]),
    ("check_data", ["data.size_mismatch=crop"], ["data.size_mismatch", "error, resize, exclude", "'crop'"]),
    ("check_data", ["data.image_size=null"], ["data.image_size", WHOLE]),
    ("check_data", ["+data.colour=3"], ["data.colour"]),
    ("check_data", ["paths.data=???"], ["paths.data"]),
    ("download", [], ["sam2=[large]", "datasets=[CAMO]"]),
    ("download", ["sam2=[huge]"], ["'huge'", "tiny, small, base_plus, large"]),
    ("download", ["datasets=[1]"], ["datasets"]),
    ("download", ["datasets=[DUTS]"], ["'DUTS'", "COD10K, "]),
    ("download", ["archive=a.zip", "sam2=[large]"], ["datasets=[NAME,...]"]),
    ("download", ["datasets=CAMO", "archive=[1]"], ["archive", "[1]"]),
    ("download", ["datasets=CAMO", "archive=a.zip"], ["a.zip: no such archive"]),
    ("download", ["datasets=CAMO", "archive=broken.zip"], ["broken.zip is cut off or damaged", "fetch it again"]),
    ("download", ["datasets=CHAMELEON", "archive=camo.zip"], ["camo.zip: no CHAMELEON", "TestDataset/CAMO/GT"]),
    ("download", ["datasets=CAMO", "archive='ftp://a/b.zip'"], ["archive=ftp://a/b.zip", "http and https"]),
    ("download", ["datasets=CAMO", "archive=camo.zip", "sha256=abc"], ["sha256", "64 hexadecimal digits"]),
    (
        "download",
        ["datasets=CAMO", "archive=camo.zip", f"sha256={'0' * 63}a"],
        ["camo.zip", f"sha256 is not {'0' * 63}a"],
    ),
    ("benchmark", ["inference", "--variant", "micro", "--sizes", "100"], ["--sizes", "multiples of 32", "100"]),
]
REQUIRED = [
    ("eval", [], "ckpt=..."),
    ("visualize", ["best=1"], "ckpt=..."),
    ("predict", [], "input=..."),
    ("score", [], "maps and masks"),
    ("score", ["maps=One"], "masks"),
]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a run, maps, masks, scores and archives."""
    folder = tmp_path_factory.mktemp("files")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_run("run", [write_set("own")])
        write_masks("CAMO")
        for maps in ("One", "Two", "Three/GT", "Three/Imgs"):
            write_maps(maps)
        save(Path("colour/One/own/a.png"), np.dstack([mask_of(0), mask_of(1), mask_of(2)]))
        save_methods(Path("scores"), {"ZoomNeXt": {"CAMO": scores(0.5, 250)}})
        save_methods(Path("adapter"), {"ZoomNeXt": {"CAMO": scores(0.5, 250)}}, protocol="sam2_adapter")
        Path("link").symlink_to("One")
        Path("a file").write_text("no checkpoint")
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w") as pairs:
            for name in ("Imgs/camourflage_1.jpg", "GT/camourflage_1.png"):
                pairs.writestr(f"TestDataset/CAMO/{name}", b"image")
        Path("camo.zip").write_bytes(archive.getvalue())
        Path("broken.zip").write_bytes(archive.getvalue()[:150])
    return folder


def snapshot(folder: Path) -> dict[Path, int]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != "train.log")
    return {path: path.stat().st_mtime_ns for path in files}


@pytest.mark.parametrize(
    ("command", "arguments", "words"),
    every(4, CASES),
    ids=lambda value: " ".join(value) if isinstance(value, list) else value,
)
def test_errors_name_option_and_way_out(
    script: Callable[..., Any],
    files: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    arguments: list[str],
    words: list[str],
) -> None:
    monkeypatch.chdir(files)
    before = snapshot(files)
    message = script(command, *GIVEN.get(command, []), *arguments).error
    assert [word for word in words if word not in message] == [], message
    assert snapshot(files) == before


@pytest.mark.parametrize(("command", "arguments", "missing"), REQUIRED)
def test_missing_options_are_named(
    script: Callable[..., Any], command: str, arguments: list[str], missing: str
) -> None:
    assert missing in script(command, *arguments).error
    assert not list(Path.cwd().iterdir())


def test_system_errors_get_a_way_out(tmp_path: Path) -> None:
    path = tmp_path / "none" / "a.txt"
    with pytest.raises(SystemExit) as end, user_errors():
        path.read_text()
    assert str(end.value).startswith(f"error: {path}: No such file or directory; check the path, and your right to")


def test_missing_torch_gets_a_way_out() -> None:
    wanted = r"error: this command needs the package torchvision: pip install -e '\.\[torch\]'"
    with pytest.raises(SystemExit, match=wanted), user_errors():
        raise ModuleNotFoundError("No module named 'torchvision'", name="torchvision")


def test_hydra_full_error_shows_the_traceback(script: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(ValueError, match="epochs"):
        script("train", *TINY, "engine.epochs=0")


@pytest.mark.parametrize(
    ("command", "ways"),
    [
        ("predict", "lower batch_size, or compute on the CPU with device=cpu"),
        ("train", "lower engine.eval_batch_size or data.image_size, or compute on the CPU with engine.cpu=true"),
        ("eval", "lower engine.eval_batch_size or data.image_size, or compute on the CPU with engine.cpu=true"),
    ],
)
def test_exhausted_memory_outside_a_step_gets_a_way_out(
    script: Callable[..., Any], files: Path, monkeypatch: pytest.MonkeyPatch, command: str, ways: str
) -> None:
    def exhaust(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.chdir(files)
    monkeypatch.setattr(IPSAM, "forward", exhaust)
    given = ["run_dir=exhausted", "engine.references=true"] if command == "train" else []
    message = script(command, *GIVEN.get(command, []), *given).error
    assert f"memory ran out (CUDA out of memory); {ways}" in message

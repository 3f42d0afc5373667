"""A full disk: the file is named, and none is half written."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.figure_runs import write_run, write_set
from support.paper_runs import save_methods, scores
from support.saved import limited_files
from support.saved_maps import write_maps, write_masks
from support.small_run import TINY

# Command and arguments, the size in bytes that no file may exceed, and the first file that does.
FULL = [
    ("score", ["maps=One", "masks=CAMO", "out=out", "num_workers=0"], 1000, "out/metrics.json"),
    ("score", ["maps=One", "masks=CAMO", "out=out", "num_workers=0"], 20_000, "out/curves.csv"),
    ("score", ["maps=One", "masks=CAMO", "out=out", "num_workers=0"], 35_000, "out/report.html"),
    ("eval", ["ckpt=run", "out=out", "maps=true"], 100, "out/maps/own/a.png"),
    ("eval", ["ckpt=run", "out=out"], 50_000, "out/own.png"),
    ("tables", ["runs=scores", "out=out"], 1000, "out/table1.md"),
    ("visualize", ["ckpt=run", "out=out", "stems=[a]"], 50_000, "out/mechanism_own.png"),
    ("train", [*TINY, "run_dir=out"], 0, "run_dir=out"),
    ("predict", ["input=own/images", "output=out"], 0, "out/predictions.json"),
    ("predict", ["input=own/images", "output=out", "save=overlay"], 3000, "out/overlay/a.png"),
    ("check_data", ["data.train=[]", "data.test=[]", "out=out", "num_workers=0"], 10, "out/check_data.json"),
    pytest.param("export", ["ckpt=run", "output=out/model.pt2"], 5000, "out/model.pt2", marks=pytest.mark.slow),
]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a run, maps, masks and scores."""
    folder = tmp_path_factory.mktemp("inputs")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_run("run", [write_set("own", "ab")])
        write_masks("CAMO")
        write_maps("One")
        save_methods(Path("scores"), {"ZoomNeXt": {"CAMO": scores(0.5, 250)}})
    return folder


@pytest.mark.parametrize(("command", "arguments", "size", "file"), FULL, ids=str)
def test_file_is_named_and_not_half_written(
    script: Callable[..., Any],
    inputs: Path,
    tmp_path: Path,
    command: str,
    arguments: list[str],
    size: int,
    file: str,
) -> None:
    for path in inputs.iterdir():
        Path(path.name).symlink_to(path)
    with limited_files(size):
        done = script(command, *arguments)
    assert done.status == 1
    assert f"{file}: can't be written (File too large)" in done.err
    assert not [word for word in ("Traceback", "Logging error", "[Errno") if word in done.err], done.err
    assert not Path(file).is_file()
    if file.endswith(("json", "csv")):  # those of two evaluations must not be mixed
        assert not [path for path in Path("out").glob("*") if path.name != ".lock"]
    assert not [path for path in Path("out").rglob("*") if path.name.startswith(".") and path.name != ".lock"]

"""Fuzz ``ipsam.load`` with broken and hostile folders of shared models, like test_fuzz_checkpoints.py."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.canary import Audit, contents
from support.fuzzing import Tally, bounded, clear, mutations
from support.hostile_configs import CALLS, VALUES, replaced, value_paths
from support.hostile_folders import REPLACEMENTS
from support.hostile_runs import lay_down, whole_run
from support.hostile_weights import WEIGHTS_FILES, cast
from support.quick import every

import ipsam
from ipsam.engine.inference.sharing import WEIGHTS, save_pretrained
from ipsam.engine.runs.hub import CARD, DESCRIPTION
from ipsam.engine.runs.model_folder import find_checkpoint

NUM_VALUES = 60
TALLY = Tally()
AUDIT = Audit()
CANARY = "/nowhere/canary"  # no call gets far enough for the path to matter

pytestmark = pytest.mark.usefixtures("untyped")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Read the files of an intact shared model."""
    made = tmp_path_factory.mktemp("whole")
    lay_down(made / "run", whole_run(made / "trained"))
    folder = save_pretrained(find_checkpoint(made / "run"), made / "shared")
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Folder for ``model``; nothing beside it may change, and no program may start."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").write_text("mine")
    monkeypatch.chdir(tmp_path / "outside")
    before = contents(tmp_path, without=tmp_path / "model")
    yield tmp_path
    assert contents(tmp_path, without=tmp_path / "model") == before
    assert AUDIT.violations == []


def use(place: Path, files: dict[str, bytes], change: Callable[[Path], object] = id) -> str | None:
    """Load the model of these files and predict; return the error."""
    folder = place / "model"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    change(folder)
    error: str | None = None
    with bounded(), AUDIT.allowing(folder):
        try:
            result = ipsam.load(folder, device="cpu").predict(np.zeros((20, 30, 3), np.uint8))
        except Exception as raised:
            error = clear(raised, str(folder), "model")
        else:
            assert result.prob.shape == (20, 30)
            assert np.isfinite(result.prob).all()
    TALLY["right results" if error is None else "clear errors"] += 1
    return error


def test_intact_model_predicts(place: Path, whole: dict[str, bytes]) -> None:
    assert use(place, whole) is None
    assert use(place, {name: content for name, content in whole.items() if name != CARD}) is None
    assert use(place, whole | {WEIGHTS: cast(torch.float16)(whole[WEIGHTS])}) is None


@pytest.mark.parametrize("change", every(4, mutations(2)))
@pytest.mark.parametrize("name", [WEIGHTS, DESCRIPTION])
def test_changed_bytes_give_clear_errors(place: Path, whole: dict[str, bytes], name: str, change: str) -> None:
    use(place, whole | {name: mutations(2)[change](whole[name])})


@pytest.mark.parametrize("change", every(2, WEIGHTS_FILES))
def test_hostile_weights_are_refused(place: Path, whole: dict[str, bytes], change: str) -> None:
    assert use(place, whole | {WEIGHTS: WEIGHTS_FILES[change](whole[WEIGHTS])})


@pytest.mark.parametrize("name", [WEIGHTS, DESCRIPTION])
@pytest.mark.parametrize("replacement", every(2, REPLACEMENTS))
def test_replaced_files_are_refused(place: Path, whole: dict[str, bytes], name: str, replacement: str) -> None:
    """Pipes and devices too, which might never end."""

    def replace(folder: Path) -> None:
        (folder / name).unlink()
        REPLACEMENTS[replacement](folder / name, place / "outside")

    assert use(place, whole, replace)


@pytest.mark.parametrize("target", every(4, CALLS))
def test_calls_do_not_run(place: Path, whole: dict[str, bytes], target: str) -> None:
    description = json.loads(whole[DESCRIPTION])
    description["model"]["decoder"] = {"_target_": target, "_args_": CALLS[target](CANARY)}
    error = use(place, whole | {DESCRIPTION: json.dumps(description).encode()})
    assert error is not None
    assert "model.decoder._target_ is" in error


def test_changed_values_give_clear_errors(place: Path, whole: dict[str, bytes]) -> None:
    rng = np.random.default_rng(0)
    paths = value_paths(json.loads(whole[DESCRIPTION]))
    pairs = {(paths[rng.integers(len(paths))], list(VALUES)[rng.integers(len(VALUES))]) for _ in range(NUM_VALUES)}
    for path, value in sorted(pairs, key=str):
        description: Any = replaced(json.loads(whole[DESCRIPTION]), path, VALUES[value])
        use(place, whole | {DESCRIPTION: json.dumps(description).encode()})


def test_enough_models_were_tried(capsys: pytest.CaptureFixture[str]) -> None:
    """Runs last."""
    TALLY.check("shared models", capsys, least=100, of_each=5)

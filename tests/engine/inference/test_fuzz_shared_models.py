"""Broken and hostile folders of shared models, by ``ipsam.load``; as in test_fuzz_checkpoints.py."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.canary import Watch, contents
from support.fuzzing import MUTATIONS, Tally, bounded, clear
from support.hostile_configs import CALLS, VALUES, places_of
from support.hostile_runs import lay_down, whole_run
from support.hostile_weights import HEADERS, TENSORS, with_tensors

import ipsam
from ipsam.engine.inference.sharing import WEIGHTS, save_pretrained
from ipsam.engine.runs.hub import CARD, DESCRIPTION
from ipsam.engine.runs.model_folder import find_checkpoint

NUM_SEEDS = 3
NUM_VALUES = 60
TALLY = Tally()
WATCH = Watch()
SEEDED = [(name, seed) for name in MUTATIONS for seed in range(NUM_SEEDS)]
CANARY = "/nowhere/canary"  # no call is to come so far that this matters

pytestmark = pytest.mark.usefixtures("untyped")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a model as it is shared."""
    made = tmp_path_factory.mktemp("whole")
    lay_down(made / "run", whole_run(made / "trained"))
    folder = save_pretrained(find_checkpoint(made / "run"), made / "shared")
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Holds the model of a case, ``model``; around it nothing may change, and no program may start."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").write_text("mine")
    monkeypatch.chdir(tmp_path / "outside")
    before = contents(tmp_path, without=tmp_path / "model")
    yield tmp_path
    assert contents(tmp_path, without=tmp_path / "model") == before
    assert WATCH.seen == []


def use(place: Path, files: dict[str, bytes]) -> str | None:
    """Loads the model of these files and predicts; the error that this ends in, if it does."""
    folder = place / "model"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    error: str | None = None
    with bounded(), WATCH.only(folder):
        try:
            result = ipsam.load(folder, device="cpu").predict(np.zeros((20, 30, 3), np.uint8))
        except Exception as raised:
            error = clear(raised, str(folder), "model")
        else:
            assert result.prob.shape == (20, 30)
            assert np.isfinite(result.prob).all()
    TALLY["right results" if error is None else "clear errors"] += 1
    return error


def test_a_whole_model_is_right(place: Path, whole: dict[str, bytes]) -> None:
    assert use(place, whole) is None
    assert use(place, {name: content for name, content in whole.items() if name != CARD}) is None


@pytest.mark.parametrize(("mutation", "seed"), SEEDED)
@pytest.mark.parametrize("name", [WEIGHTS, DESCRIPTION])
def test_bytes(place: Path, whole: dict[str, bytes], name: str, mutation: str, seed: int) -> None:
    rng = np.random.default_rng([seed, *f"{name} {mutation}".encode()])
    use(place, whole | {name: MUTATIONS[mutation](whole[name], rng)})


@pytest.mark.parametrize("change", TENSORS)
def test_other_tensors(place: Path, whole: dict[str, bytes], change: str) -> None:
    assert use(place, whole | {WEIGHTS: with_tensors(whole[WEIGHTS], TENSORS[change])})


@pytest.mark.parametrize("change", HEADERS)
def test_other_headers(place: Path, whole: dict[str, bytes], change: str) -> None:
    assert use(place, whole | {WEIGHTS: HEADERS[change](whole[WEIGHTS])})


def test_half_precision_is_right(place: Path, whole: dict[str, bytes]) -> None:
    def halve(held: dict[str, torch.Tensor]) -> None:
        held.update({name: tensor.half() for name, tensor in held.items()})

    assert use(place, whole | {WEIGHTS: with_tensors(whole[WEIGHTS], halve)}) is None


@pytest.mark.parametrize("target", CALLS)
def test_calls(place: Path, whole: dict[str, bytes], target: str) -> None:
    about = json.loads(whole[DESCRIPTION])
    about["model"]["decoder"] = {"_target_": target, "_args_": CALLS[target](CANARY)}
    told = use(place, whole | {DESCRIPTION: json.dumps(about).encode()})
    assert told is not None
    assert "model.decoder._target_ is" in told


def chosen_values(about: Any) -> list[tuple[tuple[Any, ...], str]]:
    rng = np.random.default_rng(0)
    places = places_of(about)
    pairs = {(places[rng.integers(len(places))], list(VALUES)[rng.integers(len(VALUES))]) for _ in range(NUM_VALUES)}
    return sorted(pairs, key=str)


def test_values(place: Path, whole: dict[str, bytes]) -> None:
    for where, value in chosen_values(json.loads(whole[DESCRIPTION])):
        about = node = json.loads(whole[DESCRIPTION])
        for key in where[:-1]:
            node = node[key]
        node[where[-1]] = VALUES[value]
        use(place, whole | {DESCRIPTION: json.dumps(about).encode()})


def test_the_count(capsys: pytest.CaptureFixture[str]) -> None:
    """The last one: that they were enough."""
    TALLY.check("shared models", capsys, least=100, of_each=5)

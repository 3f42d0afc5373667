"""Broken and hostile checkpoints and runs, by the way that evaluation reads them and the way that training goes on.

Each ends as what is in its files, or in one clear error, within seconds and some 100 MB. Nothing runs, and nothing
outside the run's folder is written: a canary, the files around and Python's audit hooks tell.
"""

import io
import pydoc
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hydra.utils
import numpy as np
import pytest
import torch
import yaml
from omegaconf import OmegaConf
from support.canary import Watch, contents
from support.fuzzing import MUTATIONS, Tally, bounded, clear
from support.hostile_configs import CALLS, PLACES, TAGS, TEXTS, VALUES, places_of, with_call, with_value
from support.hostile_folders import FOLDERS, REPLACED, REPLACEMENTS
from support.hostile_runs import Files, evaluated, lay_down, restored, sealed, whole_config, whole_run
from support.hostile_states import TRAININGS, Payload, archived
from support.hostile_weights import HEADERS, TENSORS, with_tensors

from ipsam.engine.runs.checkpoint import CONFIG, TRAINING, WEIGHTS

NUM_SEEDS = 3
NUM_VALUES = 150  # of the single values that are replaced
TALLY = Tally()
WATCH = Watch()
SEEDED = [(name, seed) for name in MUTATIONS for seed in range(NUM_SEEDS)]

pytestmark = pytest.mark.usefixtures("untyped")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds the run of a case, ``run``, and things that are nobody's business, ``outside``."""
    made = tmp_path_factory.mktemp("fuzz")
    (made / "outside").mkdir()
    (made / "outside" / "file").write_text("mine")
    return made


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return whole_run(tmp_path_factory.mktemp("whole"))


@pytest.fixture(autouse=True)
def quiet(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every case: outside the run's folder all is as it was, and no program was started."""
    shutil.rmtree(place / "run", ignore_errors=True)
    monkeypatch.chdir(place / "outside")
    before = contents(place, without=place / "run")
    yield
    assert contents(place, without=place / "run") == before
    assert WATCH.seen == []


def use(run: Path) -> list[str]:
    """Both ways; what each came to."""
    found = []
    for way in (evaluated, restored):
        with bounded(), WATCH.only(run):
            found.append(attempt(way, run))
    TALLY["right results" if all(error is None for error in found) else "clear errors"] += 1
    return found


def attempt(way: Callable[[Path], None], run: Path) -> str | None:
    try:
        way(run)
    except Exception as error:
        return clear(error, str(run), "model", "data", "engine")
    return None


def test_a_whole_run_is_right(place: Path, whole: Files) -> None:
    lay_down(place / "run", whole)
    assert use(place / "run") == [None, None]


# Weights.


@pytest.mark.parametrize(("mutation", "seed"), SEEDED)
@pytest.mark.parametrize("hidden", [False, True], ids=["seen", "sealed"])
def test_bytes_of_weights(place: Path, whole: Files, mutation: str, seed: int, hidden: bool) -> None:
    rng = np.random.default_rng([seed, *mutation.encode()])
    files = whole | {WEIGHTS: MUTATIONS[mutation](whole[WEIGHTS], rng)}
    lay_down(place / "run", sealed(files) if hidden else files)
    errors = use(place / "run")
    if not hidden:
        assert all("model.safetensors is damaged" in error or "all 1 checkpoints" in error for error in errors)


@pytest.mark.parametrize("change", TENSORS)
def test_other_tensors(place: Path, whole: Files, change: str) -> None:
    lay_down(place / "run", sealed(whole | {WEIGHTS: with_tensors(whole[WEIGHTS], TENSORS[change])}))
    assert all(use(place / "run"))


@pytest.mark.parametrize("change", HEADERS)
def test_other_headers(place: Path, whole: Files, change: str) -> None:
    lay_down(place / "run", sealed(whole | {WEIGHTS: HEADERS[change](whole[WEIGHTS])}))
    assert all(use(place / "run"))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64], ids=str)
def test_floats_of_another_precision_are_right(place: Path, whole: Files, dtype: torch.dtype) -> None:
    def convert(held: dict[str, torch.Tensor]) -> None:
        held.update({name: tensor.to(dtype) for name, tensor in held.items()})

    lay_down(place / "run", sealed(whole | {WEIGHTS: with_tensors(whole[WEIGHTS], convert)}))
    assert use(place / "run") == [None, None]


# The state of training.


@pytest.mark.parametrize(("mutation", "seed"), SEEDED)
def test_bytes_of_the_training_state(place: Path, whole: Files, mutation: str, seed: int) -> None:
    rng = np.random.default_rng([seed, *mutation.encode()])
    lay_down(place / "run", sealed(whole | {TRAINING: MUTATIONS[mutation](whole[TRAINING], rng)}))
    evaluation, _ = use(place / "run")
    assert evaluation is None


HARMLESS = {
    "random states by name",
    "a learning rate of NaN",
    "a weight decay of 1e30",
    "ascent",
    "betas of NaN",
    "no groups",
}


@pytest.mark.parametrize("change", TRAININGS)
def test_other_training_states(place: Path, whole: Files, change: str) -> None:
    """Learning rate and the like are those of the settings, whatever the file says."""
    lay_down(place / "run", sealed(whole | {TRAINING: TRAININGS[change](whole[TRAINING])}))
    evaluation, training = use(place / "run")
    assert evaluation is None
    assert (training is None) == (change in HARMLESS)


# Pickles that would run code.


def payload(target: str, canary: Path) -> Payload:
    function = pydoc.locate(target)
    assert callable(function)
    return Payload(function, *CALLS[target](str(canary)))


PICKLED = ("os.system", "os.mkdir", "os.mknod", "builtins.eval", "builtins.exec", "subprocess.call")
HIDDEN_IN: dict[str, Callable[[Any], Any]] = {
    "by itself": lambda call: call,
    "in progress": lambda call: {"optimizer": {}, "rng": [], "progress": call},
    "in the optimiser": lambda call: {"optimizer": {"state": {0: {"exp_avg": call}}}, "rng": [], "progress": {}},
    "among the random states": lambda call: {"optimizer": {}, "rng": [{"torch": call}], "progress": {}},
}


@pytest.mark.parametrize("target", PICKLED)
@pytest.mark.parametrize("where", HIDDEN_IN)
@pytest.mark.parametrize("name", [TRAINING, WEIGHTS, "base.pt"])
def test_pickles(place: Path, whole: Files, target: str, where: str, name: str) -> None:
    """As training state, called safetensors, and as the pretrained weights that a configuration names."""
    canary, run = place / "outside" / "canary", place / "run"
    content = archived(HIDDEN_IN[where](payload(target, canary)))
    files = whole | {name: content}
    if name == "base.pt":
        content = archived({"model": HIDDEN_IN[where](payload(target, canary))})
        base = run / "checkpoints" / "last" / name
        text = with_value(whole[CONFIG].decode(), ("model", "backbone", "checkpoint"), str(base))
        files = whole | {name: content, CONFIG: text.encode()}
    lay_down(run, sealed(files))
    evaluation, training = use(run)
    assert (training if name == TRAINING else evaluation) is not None
    trusted(lambda: torch.load(io.BytesIO(content), weights_only=False), canary)


def trusted(call: Callable[[], object], canary: Path) -> None:
    """Where nobody takes care the same payload does leave the canary behind: not for want of trying."""
    call()
    assert canary.exists(), "the canary does not sing"
    canary.rmdir() if canary.is_dir() else canary.unlink()


# Configurations.


@pytest.mark.parametrize("target", CALLS)
@pytest.mark.parametrize("where", PLACES)
def test_calls(place: Path, whole: Files, where: str, target: str) -> None:
    canary = place / "outside" / "canary"
    text = with_call(whole[CONFIG].decode(), where, target, str(canary))
    lay_down(place / "run", sealed(whole | {CONFIG: text.encode()}))
    evaluation, training = use(place / "run")
    assert (evaluation is None) == (where in NOT_EVALUATED)
    assert (training is None) == (where in NOT_RESUMED)


NOT_EVALUATED = {"the top", "hydra's section", "paths"}  # what evaluation does not read, and
NOT_RESUMED = {"the test sets", "the folder"}  # what a run may go on with another of


@pytest.mark.parametrize("target", [*PICKLED, "shutil.copy", "numpy.savetxt"])
def test_the_calls_would_do_it(place: Path, target: str) -> None:
    canary = place / "outside" / "canary"
    trusted(lambda: payload(target, canary).call[0](*payload(target, canary).call[1]), canary)


def test_hydra_would_do_it(place: Path) -> None:
    """Without this project's list of what may be called; some of the above newer versions refuse by themselves."""
    canary = place / "outside" / "canary"
    for target in ("os.mkdir", "pathlib.Path.touch", "numpy.savetxt"):
        call = {"_target_": target, "_args_": CALLS[target](str(canary))}
        trusted(lambda call=call: hydra.utils.instantiate({"_target_": "builtins.dict", "decoder": call}), canary)


@pytest.mark.parametrize("tag", TAGS)
@pytest.mark.parametrize("where", ["all", "a value"])
def test_tags(place: Path, whole: Files, tag: str, where: str) -> None:
    canary = place / "outside" / "canary"
    text = TAGS[tag](str(canary)) if where == "all" else whole[CONFIG].decode() + f"extra: {TAGS[tag](str(canary))}\n"
    lay_down(place / "run", sealed(whole | {CONFIG: text.encode()}))
    assert all("is not a plain YAML configuration" in str(error) for error in use(place / "run"))
    trusted(lambda: yaml.unsafe_load(text), canary)


@pytest.mark.parametrize("name", TEXTS)
def test_texts(place: Path, whole: Files, name: str) -> None:
    text = TEXTS[name]
    content = whole[CONFIG].rstrip() + text.encode() if text.startswith("\n") else text.encode()
    lay_down(place / "run", sealed(whole | {CONFIG: content}))
    evaluation, training = use(place / "run")
    assert training is not None
    assert (evaluation is None) == (name in {"infinity", "a long key"})  # in a place that nobody reads


@pytest.mark.parametrize(("mutation", "seed"), SEEDED)
def test_bytes_of_the_configuration(place: Path, whole: Files, mutation: str, seed: int) -> None:
    rng = np.random.default_rng([seed, *mutation.encode()])
    lay_down(place / "run", sealed(whole | {CONFIG: MUTATIONS[mutation](whole[CONFIG], rng)}))
    use(place / "run")


def chosen_values() -> list[Any]:
    """Some of all values in all places, by chance; most of them where evaluation reads them."""
    rng = np.random.default_rng(0)
    found = places_of(OmegaConf.to_container(whole_config(), resolve=True))
    ways = [way for way in found for _ in range(5 if way[0] in ("model", "data", "engine") else 1)]
    pairs = {(ways[rng.integers(len(ways))], list(VALUES)[rng.integers(len(VALUES))]) for _ in range(NUM_VALUES)}
    return [pytest.param(*pair, id=f"{'.'.join(map(str, pair[0]))} = {pair[1]}") for pair in sorted(pairs, key=str)]


@pytest.mark.parametrize(("where", "value"), chosen_values())
def test_values(place: Path, whole: Files, where: tuple[Any, ...], value: str) -> None:
    text = with_value(whole[CONFIG].decode(), where, VALUES[value])
    lay_down(place / "run", sealed(whole | {CONFIG: text.encode()}))
    use(place / "run")


# Folders.


@pytest.mark.parametrize("name", REPLACED)
@pytest.mark.parametrize("replacement", REPLACEMENTS)
def test_files_that_are_none(place: Path, whole: Files, replacement: str, name: str) -> None:
    path = lay_down(place / "run", whole) / name
    path.unlink()
    REPLACEMENTS[replacement](path, place / "outside")
    assert any(use(place / "run"))


@pytest.mark.parametrize("name", FOLDERS)
def test_folders(place: Path, whole: Files, name: str) -> None:
    lay_down(place / "run", whole)
    FOLDERS[name](place / "run", place / "outside")
    use(place / "run")


def test_the_count(capsys: pytest.CaptureFixture[str]) -> None:
    """The last one: that they were enough."""
    TALLY.check("checkpoints and runs", capsys, least=300, of_each=10)

"""Broken and hostile checkpoints and runs, evaluated and resumed.

Each use gives the result of the files, or one clear error, within seconds and some 100 MB. Nothing runs, and nothing
outside the run's folder is written: a canary, the surrounding files and Python's audit hooks prove it.
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
from support.canary import Audit, contents
from support.fuzzing import Tally, bounded, clear, mutations
from support.hostile_configs import CALL_SITES, CALLS, TAGS, TAILS, TEXTS, VALUES, replaced, value_paths, with_call
from support.hostile_folders import HOSTILE_FOLDERS, REPLACED, REPLACEMENTS
from support.hostile_runs import Files, evaluated, lay_down, restored, sealed, whole_config, whole_run
from support.hostile_states import HARMLESS_STATES, HOSTILE_STATES, Payload, archived
from support.hostile_weights import WEIGHTS_FILES, cast
from support.quick import every

from ipsam.engine.runs.checkpoint import CONFIG, TRAINING, WEIGHTS

NUM_VALUES = 100  # single values that are replaced
TALLY = Tally()
AUDIT = Audit()
OK, ERROR, EITHER = (True,), (False,), (True, False)

pytestmark = pytest.mark.usefixtures("untyped")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds the run of a case, ``run``, and foreign files, ``outside``."""
    made = tmp_path_factory.mktemp("fuzz")
    (made / "outside").mkdir()
    (made / "outside" / "file").write_text("mine")
    return made


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return whole_run(tmp_path_factory.mktemp("whole"))


@pytest.fixture
def canary(place: Path) -> Path:
    return place / "outside" / "canary"


@pytest.fixture(autouse=True)
def untouched(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Check after every case that nothing outside the run's folder changed and no program was started."""
    shutil.rmtree(place / "run", ignore_errors=True)
    monkeypatch.chdir(place / "outside")
    before = contents(place, without=place / "run")
    yield
    assert contents(place, without=place / "run") == before
    assert AUDIT.violations == []


def use(run: Path) -> list[str | None]:
    """Evaluate and resume; return the errors."""
    found: list[str | None] = []
    for way in (evaluated, restored):
        with bounded(), AUDIT.allowing(run):
            try:
                found.append(way(run))
            except Exception as error:
                found.append(clear(error, str(run), "model", "data", "engine"))
    TALLY["right results" if found == [None, None] else "clear errors"] += 1
    return found


def trusted(call: Callable[[], object], canary: Path) -> None:
    """Check that a payload does leave the canary behind where it is trusted."""
    call()
    assert canary.exists(), "the canary does not sing"
    canary.rmdir() if canary.is_dir() else canary.unlink()


def value_changes() -> dict[str, Callable[[bytes], bytes]]:
    """Replace single values by chance, mostly in the sections that evaluation reads."""
    rng = np.random.default_rng(0)
    paths = value_paths(OmegaConf.to_container(whole_config(), resolve=True))
    paths = [path for path in paths for _ in range(5 if path[0] in ("model", "data", "engine") else 1)]
    pairs = {(paths[rng.integers(len(paths))], list(VALUES)[rng.integers(len(VALUES))]) for _ in range(NUM_VALUES)}
    return {
        f"{'.'.join(map(str, path))} = {name}": lambda content, path=path, name=name: yaml.safe_dump(
            replaced(yaml.safe_load(content), path, VALUES[name])
        ).encode()
        for path, name in sorted(pairs, key=str)
    }


def file_cases() -> Iterator[Any]:
    """Changes of one file, with the possible outcomes of evaluation and of resuming."""
    unread = ("infinity", "a long key")  # under a key that evaluation does not read
    tables: list[tuple[str, dict[str, Callable[[bytes], bytes]], tuple[bool, ...], tuple[bool, ...]]] = [
        (WEIGHTS, mutations(2), EITHER, EITHER),
        (WEIGHTS, WEIGHTS_FILES, ERROR, ERROR),
        (WEIGHTS, {str(dtype): cast(dtype) for dtype in (torch.float16, torch.float64)}, OK, OK),
        (TRAINING, mutations(2), OK, EITHER),
        (TRAINING, HARMLESS_STATES, OK, OK),
        (TRAINING, HOSTILE_STATES, OK, ERROR),
        (CONFIG, mutations(2), EITHER, EITHER),
        (CONFIG, value_changes(), EITHER, EITHER),
        (CONFIG, {name: lambda _, text=text: text.encode() for name, text in TEXTS.items()}, ERROR, ERROR),
    ]
    for name, text in TAILS.items():
        change = {name: lambda content, text=text: content + text.encode()}
        tables.append((CONFIG, change, OK if name in unread else ERROR, ERROR))
    for file, changes, evaluation, resuming in tables:
        step = max(3, len(changes) // (10 if resuming == EITHER else 30))  # few of those by chance are quick
        for number, (name, change) in enumerate(changes.items()):
            marks = pytest.mark.slow if number % step else ()
            yield pytest.param(file, change, evaluation, resuming, id=f"{file}: {name}", marks=marks)


def test_intact_run_is_evaluated_and_resumed(place: Path, whole: Files) -> None:
    lay_down(place / "run", whole)
    assert use(place / "run") == [None, None]


@pytest.mark.parametrize(("file", "change", "evaluation", "resuming"), list(file_cases()))
def test_files(place: Path, whole: Files, file: str, change: Any, evaluation: Any, resuming: Any) -> None:
    lay_down(place / "run", sealed(whole | {file: change(whole[file])}))
    errors = use(place / "run")
    assert (errors[0] is None) in evaluation
    assert (errors[1] is None) in resuming


@pytest.mark.parametrize("mutation", every(3, mutations(1)))
def test_changed_weights_differ_from_their_checksum(place: Path, whole: Files, mutation: str) -> None:
    lay_down(place / "run", whole | {WEIGHTS: mutations(1)[mutation](whole[WEIGHTS])})
    assert all("model.safetensors is damaged" in error or "all 1 checkpoints" in error for error in use(place / "run"))


# Pickles that would run code.

PICKLED = ("os.system", "os.mkdir", "os.mknod", "builtins.eval", "builtins.exec", "subprocess.call")
HIDDEN_IN: dict[str, Callable[[Any], Any]] = {
    "the top": lambda call: call,
    "the optimiser": lambda call: {"optimizer": {"state": {0: {"exp_avg": call}}}, "rng": [], "progress": {}},
}


def payload(target: str, canary: Path) -> Payload:
    function = pydoc.locate(target)
    assert callable(function)
    return Payload(function, *CALLS[target](str(canary)))


@pytest.mark.parametrize("target", every(6, PICKLED))
@pytest.mark.parametrize("where", HIDDEN_IN)
@pytest.mark.parametrize("name", [TRAINING, WEIGHTS, "base.pt"])
def test_pickles_do_not_run(place: Path, whole: Files, canary: Path, target: str, where: str, name: str) -> None:
    """As training state, as safetensors, and as the pretrained weights that a configuration names."""
    content, run, files = HIDDEN_IN[where](payload(target, canary)), place / "run", dict(whole)
    if name == "base.pt":
        content = {"model": content}
        path = str(run / "checkpoints" / "last" / name)
        config = replaced(yaml.safe_load(whole[CONFIG]), ("model", "backbone", "checkpoint"), path)
        files[CONFIG] = yaml.safe_dump(config).encode()
    files[name] = archived(content)
    lay_down(run, sealed(files))
    evaluation, resuming = use(run)
    assert (resuming if name == TRAINING else evaluation) is not None
    trusted(lambda: torch.load(io.BytesIO(files[name]), weights_only=False), canary)


# Configurations that would run code.

NOT_EVALUATED = {"the top", "hydra's section", "paths"}  # not read by evaluation
FREE = {"the test sets", "the data's folder"}  # may differ when a run is resumed


@pytest.mark.parametrize(
    ("site", "target"),
    [
        pytest.param(site, target, marks=() if target == PICKLED[0] else pytest.mark.slow)
        for site in CALL_SITES
        for target in CALLS
        if site == "the decoder" or target in PICKLED
    ],
)
def test_calls_do_not_run(place: Path, whole: Files, canary: Path, site: str, target: str) -> None:
    text = with_call(whole[CONFIG].decode(), site, target, str(canary))
    lay_down(place / "run", sealed(whole | {CONFIG: text.encode()}))
    evaluation, resuming = use(place / "run")
    assert (evaluation is None) == (site in NOT_EVALUATED)
    assert (resuming is None) == (site in FREE)


@pytest.mark.parametrize("target", PICKLED)
def test_calls_would_run_where_they_are_trusted(target: str, canary: Path) -> None:
    function, arguments = payload(target, canary).call
    trusted(lambda: function(*arguments), canary)
    if target == "os.mkdir":  # some of the others are refused by newer versions of Hydra
        call = {"_target_": target, "_args_": CALLS[target](str(canary))}
        trusted(lambda: hydra.utils.instantiate({"_target_": "builtins.dict", "decoder": call}), canary)


@pytest.mark.parametrize("tag", every(3, TAGS))
@pytest.mark.parametrize("alone", [True, False])
def test_tags_do_not_run(place: Path, whole: Files, canary: Path, tag: str, alone: bool) -> None:
    value = TAGS[tag](str(canary))
    text = value if alone else whole[CONFIG].decode() + f"extra: {value}\n"
    lay_down(place / "run", sealed(whole | {CONFIG: text.encode()}))
    assert all("is not a plain YAML configuration" in str(error) for error in use(place / "run"))
    trusted(lambda: yaml.unsafe_load(text), canary)


# Folders.


@pytest.mark.parametrize("name", REPLACED)
@pytest.mark.parametrize("replacement", every(3, REPLACEMENTS))
def test_replaced_files(place: Path, whole: Files, replacement: str, name: str) -> None:
    path = lay_down(place / "run", whole) / name
    path.unlink()
    REPLACEMENTS[replacement](path, place / "outside")
    assert any(use(place / "run"))


@pytest.mark.parametrize("name", every(2, HOSTILE_FOLDERS))
def test_folders(place: Path, whole: Files, name: str) -> None:
    lay_down(place / "run", whole)
    HOSTILE_FOLDERS[name](place / "run", place / "outside")
    use(place / "run")


def test_the_count(capsys: pytest.CaptureFixture[str]) -> None:
    """Last, as it checks that the tests before were enough."""
    TALLY.check("checkpoints and runs", capsys, least=300, of_each=10)

"""Finding and reading results: the scores of runs, and those of maps that ``scripts/score.py`` scored."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from ipsam.engine.runs.checkpoint import CONFIG
from ipsam.engine.runs.configuration import as_dict, read_config
from ipsam.tools.paper.changes import Experiments, Settings, settings_of_run
from ipsam.tools.paper.printed import Reference, method_key, references
from ipsam.tools.paper.score_files import Scores, checked_scores, is_number, other_sizes, read_score_file
from ipsam.utils.folders import folders_below
from ipsam.utils.untrusted import bounded_text

METRICS_FILE = "metrics.json"
LOOKED_FOR = (
    f"runs, which are folders with {CONFIG} and eval/{METRICS_FILE} (scripts/train.py writes both), and every other "
    f"{METRICS_FILE} with the key methods (of scripts/score.py)"
)
NEITHER = (
    "neither a run's last checkpoint on its own test sets nor methods by name; if scripts/score.py wrote it, "
    "score maps=<the folder above the method's>, so that the method has a name"
)
UNREADABLE = (ValueError, OSError, RecursionError, OmegaConfBaseException)


@dataclass(frozen=True)
class Result:
    """A run's scores, or a method's whose maps were scored.

    Args:
        place: the run's folder, or the files with the method's scores.
        name: of the experiment or the method.
        seed: None for a method.
        rows: of the paper that the run reproduces; a method finds its rows by its name.
        scores: datasets by their benchmark's name, where they are one.
        settings: that the scores depend on; None for a method.
        remarks: what is otherwise than in the experiment or in the benchmarks as published.
        param: millions of parameters, if the run tells.
        t_param: those that trained.
    """

    place: str
    name: str
    seed: int | None
    rows: tuple[Reference, ...]
    scores: Scores
    settings: Settings | None
    remarks: tuple[str, ...]
    param: float | None = None
    t_param: float | None = None


def find_results(runs: Path, configs: Path) -> tuple[list[Result], list[str]]:
    """All results below a folder, in the order of their paths, and a line for each file that could not be used.

    Links to folders are followed, see ``folders_below``.

    Args:
        runs: the folder with the runs, such as ``outputs``.
        configs: the repository's ``configs/``, with which the runs are compared.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if there is no result in it.
    """
    if not runs.is_dir():
        raise FileNotFoundError(f"no folder {runs}: set runs=FOLDER to the one that the runs are in")
    experiments = Experiments(configs)
    found: list[Result] = []
    methods: dict[str, Result] = {}
    folders, unreadable = folders_below(runs)
    left_out = [
        *unreadable,
        *(
            f"{path.parent}: begun, but not evaluated"
            for path in _files(folders, CONFIG)
            if (path.parent / "checkpoints").is_dir() and not (path.parent / "eval" / METRICS_FILE).is_file()
        ),
    ]
    for path in _files(folders, METRICS_FILE):
        if path.parent.parent.name == "references":  # a run's own: itself untrained, the best constant map
            continue
        try:
            content = read_score_file(path)
            if isinstance(content.get("methods"), dict):
                left_out += _add_methods(methods, path, content)
            elif path.parent.name == "eval" and (path.parents[1] / CONFIG).is_file():
                result, complaints = _read_run(path.parents[1], content, experiments)
                found.append(result)
                left_out += complaints
            else:
                left_out.append(f"{path}: {NEITHER}")
        except UNREADABLE as error:
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            nameless = isinstance(error, RecursionError | OmegaConfBaseException)
            left_out.append(f"{path}, or its run's {CONFIG}: {reason}" if nameless else reason)
    if not found and not methods:
        raise ValueError("\n".join([f"no results below {runs}; looked for {LOOKED_FOR}", *left_out]))
    return [*found, *methods.values()], left_out


def _files(folders: Sequence[Path], name: str) -> list[Path]:
    return [path for folder in folders if (path := folder / name).is_file()]


def _read_run(folder: Path, content: dict[str, Any], experiments: Experiments) -> tuple[Result, list[str]]:
    """The run, and what is wrong with it that need not keep it out."""
    config = read_config(folder / CONFIG)
    values = as_dict(config)
    name, seed = values.get("name"), values.get("seed")
    if not isinstance(name, str) or not isinstance(seed, int):
        raise ValueError(f"{folder / CONFIG} must tell name and seed of the experiment, not {name!r} and {seed!r}")
    try:
        rows = references(values.get("paper"))
    except ValueError as error:
        raise ValueError(f"{folder / CONFIG}: {error}") from error
    scores = checked_scores(content.get("datasets"), folder / "eval" / METRICS_FILE)
    remarks = (*experiments.changes(config), *_unfinished(content.get("epochs"), config), *other_sizes(scores))
    result = Result(str(folder), name, seed, rows, scores, settings_of_run(config), remarks)
    try:
        param, t_param = _parameters(folder / "environment.jsonl")
        return replace(result, param=param, t_param=t_param), []
    except UNREADABLE as error:
        return result, [f"{folder / 'environment.jsonl'}: {error}; Param and T-Param of this run stay blank"]


def _unfinished(epochs: object, config: DictConfig) -> tuple[str, ...]:
    planned = config.engine.get("epochs")
    if not isinstance(epochs, int) or not isinstance(planned, int) or epochs >= planned:
        return ()
    return (f"evaluated after {epochs} of {planned} epochs",)


def _parameters(path: Path) -> tuple[float | None, float | None]:
    """``param`` and ``t_param`` as the run wrote them down when it last began or went on; older runs did not."""
    lines = bounded_text(path).split("\n") if path.is_file() else []
    environment = json.loads(next((line for line in reversed(lines) if line.strip()), "{}"))
    counts = environment.get("parameters") if isinstance(environment, dict) else None
    if counts is None:
        return None, None
    if not isinstance(counts, dict) or not all(is_number(counts.get(key)) for key in ("param", "t_param")):
        raise ValueError(f"parameters must be {{param: millions, t_param: millions}}, not {counts!r}")
    return float(counts["param"]), float(counts["t_param"])


def _add_methods(methods: dict[str, Result], path: Path, content: dict[str, Any]) -> list[str]:
    """Join a file's methods to those found so far; returns a line for each score that was there already."""
    repeated = []
    read = {str(name): checked_scores(datasets, path) for name, datasets in content["methods"].items()}
    for name, scores in read.items():
        former = methods.get(method_key(name), Result("", name, None, (), {}, None, ()))
        repeated += [
            f"{path}: {name} on {dataset} is in {former.place} already, which comes first by path and is used"
            for dataset in scores
            if dataset in former.scores
        ]
        joined = scores | former.scores
        methods[method_key(name)] = replace(
            former,
            place=", ".join(filter(None, [former.place, str(path)])),
            scores=joined,
            remarks=other_sizes(joined),
        )
    return repeated

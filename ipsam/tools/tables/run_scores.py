"""Scores found on disk: those of runs, and those of maps that ``ipsam score`` scored."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from omegaconf.errors import OmegaConfBaseException

from ipsam.engine.evaluate.curve import CURVE, read_curve
from ipsam.engine.metrics import METRICS
from ipsam.engine.runs.checkpoint import CONFIG
from ipsam.engine.runs.configuration import Configs, as_dict, read_config
from ipsam.tools.tables.changes import base_of, changes, changes_of_base, settings_of_run
from ipsam.tools.tables.printed import Reference, method_key, references
from ipsam.tools.tables.score_files import (
    Scores,
    checked_scores,
    is_number,
    protocol_of,
    read_score_file,
    remarks_on,
    rules_of,
    shares_of_remarks,
)
from ipsam.utils.folders import folders_below
from ipsam.utils.untrusted import bounded_text

METRICS_FILE = "metrics.json"
BEST = "sm"  # metric that the best epoch on a test set is best in
LOOKED_FOR = (
    f"runs, which are folders with {CONFIG} and eval/{METRICS_FILE} (ipsam train writes both), and every other "
    f"{METRICS_FILE} with the key methods (of ipsam score)"
)
NEITHER = "neither a run's last checkpoint on its own test sets nor methods by name, as ipsam score writes them"
UNREADABLE = (ValueError, OSError, RecursionError, OmegaConfBaseException)


@dataclass(frozen=True)
class RunScores:
    """Scores of a run, or of a method's maps.

    Args:
        place: the run's folder, or the files with the method's scores.
        name: of the experiment or the method.
        seed: None for maps.
        scores: by dataset, under its benchmark's name if it has one.
        rows: of the paper that the run reproduces; maps find their rows by their method's name.
        settings: that the scores depend on; of maps the protocol alone.
        remarks: differences from the experiment and from the published test sets.
        param: millions of parameters, if the run recorded them.
        t_param: millions of trained parameters.
        shares: share of images with each remark of the evaluation, by dataset.
        changed: of the settings of ``cod_r32``, for a run of ``experiment/blank``.
        best_epochs: number and scores of the best epoch by dataset, where the training watched the test sets.
        protocol: other than the default one, in words.
    """

    place: str
    name: str
    seed: int | None
    scores: Scores
    rows: tuple[Reference, ...] = ()
    settings: dict[str, Any] | None = None
    remarks: tuple[str, ...] = ()
    param: float | None = None
    t_param: float | None = None
    shares: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    changed: tuple[str, ...] = ()
    best_epochs: Mapping[str, tuple[int, Mapping[str, float]]] = field(default_factory=dict)
    protocol: str = ""


def find_scores(
    runs: Path | Sequence[Path], configs: Path | Configs, *, any_protocol: bool = False
) -> tuple[list[RunScores], list[str]]:
    """Find all scores below folders, sorted by path; return also a line for each file that could not be used.

    Links to folders are followed, see ``folders_below``.

    Args:
        runs: the folders with the runs, such as ``outputs``.
        configs: the folder ``configs/``, and perhaps others, whose experiments the runs are compared with.
        any_protocol: take scores of other protocols than the default one too, with a remark.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: they hold no scores.
    """
    found: list[RunScores] = []
    methods: dict[tuple[str, str], RunScores] = {}  # by name and protocol
    folders: list[Path] = []
    left_out: list[str] = []
    roots = [runs] if isinstance(runs, Path) else runs
    for root in roots:
        if not root.is_dir():
            raise FileNotFoundError(
                f"no folder {root}: set runs=FOLDER to that of your runs or of what ipsam score wrote"
            )
        found_folders, unreadable = folders_below(root)
        folders += found_folders
        left_out += unreadable
    left_out += [
        f"{path.parent}: begun, but not evaluated"
        for path in _files(folders, CONFIG)
        if (path.parent / "checkpoints").is_dir() and not (path.parent / "eval" / METRICS_FILE).is_file()
    ]
    for path in _files(folders, METRICS_FILE):
        if path.parent.parent.name == "references":  # of a run's untrained model and best constant map
            continue
        try:
            content = read_score_file(path, any_protocol=any_protocol)
            if isinstance(content.get("methods"), dict):
                left_out += _add_methods(methods, path, content)
            elif path.parent.name == "eval" and (path.parents[1] / CONFIG).is_file():
                run, complaints = _read_run(path.parents[1], content, configs)
                found.append(run)
                left_out += complaints
            else:
                left_out.append(f"{path}: {NEITHER}")
        except UNREADABLE as error:
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            names_no_file = isinstance(error, RecursionError | OmegaConfBaseException)
            left_out.append(f"{path}, or its run's {CONFIG}: {reason}" if names_no_file else reason)
    if not found and not methods:
        names = " or ".join(map(str, roots))
        raise ValueError("\n".join([f"no results below {names}; looked for {LOOKED_FOR}", *left_out]))
    return [*found, *methods.values()], left_out


def _files(folders: Sequence[Path], name: str) -> list[Path]:
    return [path for folder in dict.fromkeys(folders) if (path := folder / name).is_file()]


def _read_run(folder: Path, content: dict[str, Any], configs: Path | Configs) -> tuple[RunScores, list[str]]:
    """Read a run; return also complaints about parts that it can do without."""
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
    epochs, planned = content.get("epochs"), values["engine"].get("epochs")
    settings = settings_of_run(config)
    remarks = changes(config, settings, configs)
    if isinstance(epochs, int) and isinstance(planned, int) and epochs < planned:
        remarks.append(f"evaluated after {epochs} of {planned} epochs")
    protocol = protocol_of(content)
    remarks += remarks_on(scores, protocol)
    shares = shares_of_remarks(content.get("remarks"), scores)
    changed = tuple(changes_of_base(base, settings, configs)) if (base := base_of(name)) else ()
    settings["protocol"] = rules_of(content)[1]
    run = RunScores(str(folder), name, seed, scores, rows, settings, tuple(remarks), shares=shares, changed=changed)
    run = replace(run, protocol=protocol)
    complaints = []
    try:
        run = replace(run, **_parameters(folder / "environment.jsonl"))
    except UNREADABLE as error:
        complaints.append(f"{folder / 'environment.jsonl'}: {error}; Param and T-Param of this run stay blank")
    try:
        run = replace(run, best_epochs=_best_epochs(folder / "eval" / CURVE))
    except UNREADABLE as error:
        complaints.append(f"{error}; the tables do not give the best epoch of this run")
    return run, complaints


def _best_epochs(path: Path) -> dict[str, tuple[int, Mapping[str, float]]]:
    """Find each dataset's best epoch in a curve, under its benchmark's name if it has one."""
    best: dict[str, tuple[int, Mapping[str, float]]] = {}
    for epoch, rows in groupby(read_curve(path), key=lambda row: row[0]):
        for name, scores in checked_scores({dataset: values for _, dataset, values in rows}, path).items():
            if name not in best or METRICS[BEST].sign * (scores[BEST] - best[name][1][BEST]) > 0:
                best[name] = epoch, scores
    return best


def _parameters(path: Path) -> dict[str, Any]:
    """Read ``param`` and ``t_param`` from the last line that the run recorded; older runs recorded none."""
    lines = bounded_text(path).split("\n") if path.is_file() else []
    environment = json.loads(next((line for line in reversed(lines) if line.strip()), "{}"))
    counts = environment.get("parameters") if isinstance(environment, dict) else None
    if counts is None:
        return {}
    if not isinstance(counts, dict) or not all(is_number(counts.get(key)) for key in ("param", "t_param")):
        raise ValueError(f"parameters must be {{param: millions, t_param: millions}}, not {counts!r}")
    return {key: float(counts[key]) for key in ("param", "t_param")}


def _add_methods(methods: dict[tuple[str, str], RunScores], path: Path, content: dict[str, Any]) -> list[str]:
    """Add a file's methods to those found so far; return a line for each score that an earlier file has."""
    repeated = []
    protocol = protocol_of(content)
    first = RunScores("", "", None, {}, settings={"protocol": rules_of(content)[1]}, protocol=protocol)
    read = {str(name): checked_scores(datasets, path) for name, datasets in content["methods"].items()}
    for name, scores in read.items():
        former = methods.get((method_key(name), protocol)) or replace(first, name=name)
        added = [dataset for dataset in scores if dataset not in former.scores]
        repeated += [
            f"{path}: {name} on {dataset} is in {former.place} already, which comes first by path and is used"
            for dataset in scores
            if dataset not in added
        ]
        joined = scores | former.scores
        methods[method_key(name), protocol] = replace(
            former,
            place=", ".join(filter(None, [former.place, str(path) if added else ""])),
            scores=joined,
            remarks=remarks_on(joined, protocol),
        )
    return repeated

"""Scores under corruptions: evaluations of one model on clean and on corrupted images, as tables and curves.

As Michaelis et al. (Benchmarking Robustness in Object Detection, 2019) do, a corruption counts as the mean over its
severities, a group as the mean over its corruptions, and each is also given relative to the clean score.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from ipsam.data import TestSet
from ipsam.data.corruptions import ALL, CLEAN, GROUPS, PACKAGE, Corruption, corrupted
from ipsam.engine.evaluate.evaluator import evaluate_with
from ipsam.engine.evaluate.parts import Parts, ShardsMissingError
from ipsam.engine.evaluate.plots import empty_plots, line_style, png
from ipsam.engine.evaluate.report import set_up_model
from ipsam.engine.metrics import ALL_METRICS, FURTHER, HEADLINE, Protocol, Scores
from ipsam.engine.metrics.tables import markdown, num_images
from ipsam.engine.runs.provenance import package_versions
from ipsam.engine.runs.settings import Settings
from ipsam.model import Segmenter
from ipsam.utils.console import show
from ipsam.utils.files import as_csv, write_files
from ipsam.utils.fonts import fonts, short

FOLDER = "corruptions"  # in the folder of the results
PLOTTED = "fw"
MEAN = "mean"
ABOUT = """\
Each cell holds a score and its ratio to the clean one. The package {package} corrupts the images at their own size,
before they are resized for the model; the seed is the image's name. Masks stay as they are. A corruption's mean is over
its severities, a group's over its corruptions."""

ByCorruption = Mapping[Corruption, Mapping[str, Scores]]  # scores of each dataset; those of CLEAN are among them
Row = dict[str, Any]


def evaluate_corrupted(
    model: Segmenter,
    test_sets: Mapping[str, TestSet],
    settings: Settings,
    corruptions: Sequence[Corruption],
    *,
    out: Path,
    protocol: Protocol,
    parts: Callable[..., Parts],
    save_maps: bool = False,
    parquet: bool = False,
) -> None:
    """Score every test set, clean and under each corruption. The main process writes the files and prints the summary.

    ``out`` gets ``corruptions.csv``, ``.md`` and ``.png``, and a folder with the usual files for each corruption. An
    evaluation whose scores are in its folder already is not repeated, so an interrupted study continues.

    Args:
        model: model to evaluate; with ``settings.fast`` it is prepared for inference, in place.
        test_sets: clean test sets by name.
        settings: device, precision, batch size and workers.
        corruptions: as ``chosen_corruptions`` returns them.
        out: folder of the files.
        protocol: rules of scoring.
        parts: ``Parts.of`` with all but the folder and the corruption.
        save_maps: also write the maps, to the folder ``maps`` of each corruption.
        parquet: also write ``per_image.parquet`` for each corruption.

    Raises:
        ShardsMissingError: this shard is scored, and others have no scores yet.
    """
    state = set_up_model(model, settings)
    results: dict[Corruption, dict[str, Scores]] = {}
    waiting: list[str] = []
    for number, corruption in enumerate([CLEAN, *corruptions]):
        if state.is_main_process:
            show(f"{number + 1} of {len(corruptions) + 1}: {corruption}")
        folder = out / str(corruption)
        sets = {name: corrupted(one, corruption) for name, one in test_sets.items()}
        own = parts(folder, reuse=not save_maps, corruption=[str(corruption), package_versions([PACKAGE])])
        maps = folder / "maps" if save_maps else None
        try:
            evaluation = evaluate_with(model, sets, settings, protocol=protocol, maps=maps, parts=own)
        except ShardsMissingError as error:
            waiting.append(str(error))
            continue
        if state.is_main_process:
            evaluation.write(folder, parquet=parquet)
            results[corruption] = evaluation.datasets
    if waiting:
        raise ShardsMissingError(
            f"{len(waiting)} of {len(corruptions) + 1} evaluations need other shards: {waiting[-1]}"
        )
    if state.is_main_process:
        _report(results, out, protocol)


def _report(results: ByCorruption, out: Path, protocol: Protocol) -> None:
    rows = {name: study_rows(results, name) for name in results[CLEAN]}
    version = " ".join([PACKAGE, *package_versions([PACKAGE]).values()])
    tables = [f"## {name}, {num_images(results[CLEAN][name])} images\n\n{_table(one)}" for name, one in rows.items()]
    text = "\n\n".join(["# Scores under corruptions", str(protocol), ABOUT.format(package=version), *tables])
    files = {
        "corruptions.csv": as_csv({"dataset": name, **row} for name, one in rows.items() for row in one),
        "corruptions.md": f"{text}\n".encode(),
        "corruptions.png": png(draw_study(rows)),
    }
    write_files(out, files)
    summary = {name: [row for row in one if row["severity"] in (0, "")] for name, one in rows.items()}
    show(protocol, *(f"{name}:\n{_table(one)}" for name, one in summary.items()))
    show("tables and curves:", *(f"  {out / name}" for name in files))


def study_rows(results: ByCorruption, dataset: str) -> list[Row]:
    """Return the rows of a dataset: clean, each group's corruptions at each severity, and the means.

    A row has ``group``, ``corruption`` and ``severity``; each metric, and as ``<metric>_relative`` its ratio to the
    clean score (NaN if that is 0). The mean over severities has the severity ``mean``; the mean over a group's
    corruptions, or over all corruptions but the extra ones, the corruption ``mean`` and no severity. Its group is
    ``all``, or ``chosen`` where some of them were left out.
    """
    clean = _only_metrics(results[CLEAN][dataset])

    def row(group: str, corruption: str, severity: int | str, scores: Scores) -> Row:
        relative = {
            f"{name}_relative": score / clean[name] if clean[name] else math.nan for name, score in scores.items()
        }
        return {"group": group, "corruption": corruption, "severity": severity, **scores, **relative}

    rows, of_all = [row("", str(CLEAN), 0, clean)], []
    for group, names in GROUPS.items():
        of_group = []
        for name in names:
            own = {one.severity: _only_metrics(of[dataset]) for one, of in results.items() if one.name == name}
            if own:
                of_group.append(_mean(own.values()))
                rows += [row(group, name, severity, scores) for severity, scores in own.items()]
                rows.append(row(group, name, MEAN, of_group[-1]))
        if of_group:
            rows.append(row(group, MEAN, "", _mean(of_group)))
        of_all += of_group if group in ALL else []
    whole = len(of_all) == sum(len(GROUPS[group]) for group in ALL)
    return [*rows, row("all" if whole else "chosen", MEAN, "", _mean(of_all))] if of_all else rows


def draw_study(rows: Mapping[str, Sequence[Row]]) -> Figure:
    """Plot ``PLOTTED`` relative to clean over the severity: a row for each dataset, a plot for each group."""
    groups = [group for group in GROUPS if any(row["group"] == group for one in rows.values() for row in one)]
    figure, plots = empty_plots(len(rows), len(groups))
    for axes, (dataset, group) in zip(plots, ((name, group) for name in rows for group in groups), strict=True):
        of_group = [row for row in rows[dataset] if row["group"] == group and isinstance(row["severity"], int)]
        highest = 1.05
        for line, name in enumerate(dict.fromkeys(row["corruption"] for row in of_group)):
            own = [row for row in of_group if row["corruption"] == name]
            y = [1.0, *(row[f"{PLOTTED}_relative"] for row in own)]
            x = [0, *(row["severity"] for row in own)]
            colour, style = line_style(line)
            axes.plot(x, y, color=colour, linestyle=style, marker="o", markersize=3, label=name.replace("_", " "))
            highest = max([highest, *filter(math.isfinite, y)])
        axes.set_title(short(f"{dataset}: {group}"), parse_math=False, family=fonts(), fontsize=11)
        axes.set_xlabel("severity")
        axes.set_ylabel(f"{ALL_METRICS[PLOTTED].label} relative to clean")
        axes.set_xticks(range(6))
        axes.set_ylim(0, highest)
        axes.legend(loc="lower left", framealpha=0.8, fontsize=8)
    return figure


def _table(rows: Sequence[Row]) -> str:
    metrics = [*HEADLINE, *(name for name in FURTHER if name in rows[0])]

    def cell(row: Row, metric: str) -> str:
        relative = row[f"{metric}_relative"]
        return f"{row[metric]:.4f} ({'-' if math.isnan(relative) else f'{relative:.2f}'})"

    names = [" ".join(filter(None, (row["group"], row["corruption"], str(row["severity"])))) for row in rows]
    cells = [[name, *(cell(row, metric) for metric in metrics)] for name, row in zip(names, rows, strict=True)]
    return markdown(["corruption", *(ALL_METRICS[metric].label for metric in metrics)], cells)


def _only_metrics(scores: Scores) -> Scores:
    return {name: score for name, score in scores.items() if not name.startswith("num_")}


def _mean(scores: Iterable[Scores]) -> Scores:
    each = list(scores)
    return {name: math.fsum(one[name] for one in each) / len(each) for name in each[0]}

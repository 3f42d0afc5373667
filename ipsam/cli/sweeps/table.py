"""The table of a sweep's runs: what varied, scores and seconds."""

from collections.abc import Sequence
from pathlib import Path

from ipsam.cli.sweeps.runs import Run
from ipsam.engine.metrics import HEADLINE, METRICS
from ipsam.engine.metrics.tables import markdown
from ipsam.tools.tables.run_scores import METRICS_FILE, UNREADABLE
from ipsam.tools.tables.score_files import checked_scores, read_score_file
from ipsam.utils.files import as_csv, write_files

TABLE = "sweep.csv"


def write_table(runs: Sequence[Run], folder: Path) -> list[str]:
    """Write ``sweep.csv``, with a row for each run and dataset; return the same table, and where it is.

    Scores are those of runs that ended well.
    """
    keys = [key for key in dict.fromkeys(key for run in runs for key in run.values) if _varies(key, runs)]
    rows: list[dict[str, str | float]] = []
    for run in runs:
        begins: dict[str, str | float] = {"run": run.number, **{key: run.values.get(key, "") for key in keys}}
        ends: dict[str, str | float] = {"seconds": round(run.seconds, 2), "starts": run.starts, "result": run.result}
        scores = _scores(run)
        rows += [
            {**begins, "dataset": name, **{metric: of[metric] for metric in HEADLINE if metric in of}, **ends}
            for name, of in (scores or {"": {}}).items()
        ]
    metrics = [metric for metric in HEADLINE if any(metric in row for row in rows)]
    fields = ["run", *keys, *(["dataset", *metrics] if metrics else []), "seconds", "starts", "result"]
    write_files(folder, {TABLE: as_csv([{field: row.get(field, "") for field in fields} for row in rows], fields)})
    heads = [METRICS[field].label if field in metrics else field for field in fields]
    cells = [[_cell(row.get(field, ""), field in metrics) for field in fields] for row in rows]
    return [markdown(heads, cells), f"table: {folder / TABLE}"]


def _varies(key: str, runs: Sequence[Run]) -> bool:
    return len({run.values.get(key) for run in runs}) > 1


def _scores(run: Run) -> dict[str, dict[str, float]]:
    if run.folder is None or run.status != 0:
        return {}
    path = run.folder / "eval" / METRICS_FILE
    try:
        return checked_scores(read_score_file(path)["datasets"], path)
    except (*UNREADABLE, KeyError):  # such as a run without a test set
        return {}


def _cell(value: str | float, is_score: bool) -> str:
    return f"{value:.4f}" if is_score and isinstance(value, float) else str(value)

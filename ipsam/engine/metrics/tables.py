"""Markdown tables of scores."""

from collections.abc import Mapping, Sequence

from ipsam.engine.metrics.registry import ALL_METRICS, FURTHER

SHOWN = ("mae", "fw", "sm", "em", "em_adp", "em_max", "mdice", "miou")  # columns of the table of scores


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Format a Markdown table with aligned columns, readable as plain text too."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        first, *others = cells
        aligned = [first.ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(others, widths[1:], strict=True))]
        return f"| {' | '.join(aligned)} |"

    rule = "|".join("-" * (width + 1) + ("-" if i == 0 else ":") for i, width in enumerate(widths))
    return "\n".join([line(header), f"|{rule}|", *map(line, rows)])


def scores_table(methods: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    """Format one row per method and dataset: number of images, the metrics in ``SHOWN``, and what else is scored."""
    every = [scores for datasets in methods.values() for scores in datasets.values()]
    shown = [*SHOWN, *(name for name in FURTHER if any(name in scores for scores in every))]
    rows = [
        [
            dataset,
            method,
            num_images(scores),
            *(f"{scores[metric]:.4f}" if metric in scores else "-" for metric in shown),
        ]
        for method, datasets in methods.items()
        for dataset, scores in datasets.items()
    ]
    order = list(dict.fromkeys(dataset for datasets in methods.values() for dataset in datasets))
    rows.sort(key=lambda row: order.index(row[0]))  # by dataset; methods in the given order
    return markdown(["dataset", "method", "images", *(ALL_METRICS[metric].label for metric in shown)], rows)


def num_images(scores: Mapping[str, float]) -> str:
    """Say how many images of a dataset were scored, and of how many, if some were left out."""
    num, num_left_out = scores["num_images"], scores.get("num_left_out", 0)
    return f"{num:.0f} of {num + num_left_out:.0f}" if num_left_out else f"{num:.0f}"

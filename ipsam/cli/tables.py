"""Print the paper's tables, or one of your own, with your runs in them."""

from pathlib import Path

from omegaconf import DictConfig

from ipsam.engine.runs.configuration import config_folders
from ipsam.tools.tables.fill import fill_layout, fill_paper
from ipsam.tools.tables.layout import Layout
from ipsam.tools.tables.output import write
from ipsam.tools.tables.run_scores import find_scores
from ipsam.tools.tables.sheet import to_markdown
from ipsam.utils.console import show
from ipsam.utils.folders import check_stays_inside, writable_folder


def main(config: DictConfig) -> None:
    """Find the runs, fill the tables, write and print them."""
    runs = [Path(str(folder)) for folder in config.runs or ()]
    if not runs:
        raise ValueError("runs names no folder: set runs=FOLDER to the one that the runs are in")
    layout = None if config.layout is None else Layout.read(Path(str(config.layout)))
    check_stays_inside(runs[0], ["tables"])
    results, left_out = find_scores(runs, config_folders(), any_protocol=layout is not None)
    if layout is None:
        sheets, kept_out = fill_paper(results)
    else:
        sheet, kept_out = fill_layout(layout, results)
        sheets = [sheet]
    out = writable_folder(runs[0] / "tables" if config.out is None else Path(str(config.out)), "out")
    written = [write(sheet, out) for sheet in sheets]
    show(*map(to_markdown, sheets))
    show("written:", *("  " + " ".join(map(str, paths)) for paths in written))
    if left_out or kept_out:
        show("left out:", *(f"  {one}" for one in (*left_out, *kept_out)))

"""Print the paper's tables with your runs in them."""

from pathlib import Path

from omegaconf import DictConfig

from ipsam.engine.runs.configuration import config_folders
from ipsam.tools.paper.run_scores import find_scores
from ipsam.tools.paper.sheet import to_markdown, write
from ipsam.tools.paper.tables import fill_tables
from ipsam.utils.console import show
from ipsam.utils.folders import check_stays_inside, writable_folder


def main(config: DictConfig) -> None:
    """Find the runs, fill the tables, write and print them."""
    runs = Path(str(config.runs))
    check_stays_inside(runs, ["tables"])
    results, left_out = find_scores(runs, config_folders())
    sheets, kept_out = fill_tables(results)
    out = writable_folder(runs / "tables" if config.out is None else Path(str(config.out)), "out")
    written = [write(sheet, out) for sheet in sheets]
    show(*map(to_markdown, sheets))
    show("written:", *("  " + " ".join(map(str, paths)) for paths in written))
    if left_out or kept_out:
        show("left out:", *(f"  {one}" for one in (*left_out, *kept_out)))

"""Draw the paper's Fig. 3 and Fig. 4 of a run."""

from omegaconf import DictConfig

from ipsam.tools.figures.draw import draw_figures
from ipsam.utils.console import show


def main(config: DictConfig) -> None:
    """Draw the requested figure and print the files."""
    show(*draw_figures(config))

"""Draw the paper's Fig. 4 or 3: python scripts/visualize.py ckpt=outputs/cod_r32/seed0 worst=4 (--help tells more)."""

from omegaconf import DictConfig

from ipsam.cli.command import command
from ipsam.tools.figures.draw import draw_figures


@command("visualize")
def main(config: DictConfig) -> None:
    """Choose the images, look at them with the model, draw."""
    for drawn in draw_figures(config):
        print(drawn)

"""Draw the paper's Fig. 4 or 3: python scripts/visualize.py ckpt=outputs/cod_r32/seed0 worst=4 (--help tells more)."""

import hydra
from omegaconf import DictConfig

from ipsam.cli import CONFIGS
from ipsam.cli.errors import user_errors
from ipsam.tools.figures.draw import draw_figures


@hydra.main(version_base="1.3", config_path=str(CONFIGS), config_name="visualize")
def main(config: DictConfig) -> None:
    """Choose the images, look at them with the model, draw."""
    with user_errors():
        for drawn in draw_figures(config):
            print(drawn)

"""Read a run's data and say what is wrong: python scripts/check_data.py data=cod (--help tells what can be set)."""

import sys

import hydra
from omegaconf import DictConfig

from ipsam.cli import CONFIGS
from ipsam.cli.errors import user_errors
from ipsam.tools.prepare.data_check import DataCheck, in_words


@hydra.main(version_base="1.3", config_path=str(CONFIGS), config_name="check_data")
def main(config: DictConfig) -> None:
    """Read every file, print what was found; exit status 1 if it would stop a run."""
    with user_errors():
        diagnosis = DataCheck.of(config).run()
        print(in_words(diagnosis))
    sys.exit(int(diagnosis.would_stop))

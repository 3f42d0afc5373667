"""Check the files of a run's data."""

import sys

from omegaconf import DictConfig

from ipsam.cli.errors import with_data_keys
from ipsam.tools.prepare.data_check import DataCheck, as_text


def main(config: DictConfig) -> None:
    """Read every file and print the findings; exit with status 1 if a run would stop."""
    diagnosis = DataCheck.of(config).run()
    print(with_data_keys(as_text(diagnosis)))
    sys.exit(int(diagnosis.would_stop))

"""Check the files of a run's data."""

import sys

from omegaconf import DictConfig

from ipsam.cli.errors import with_keys
from ipsam.tools.prepare.data_check import as_text, check_data, save_report
from ipsam.utils.console import show


def main(config: DictConfig) -> None:
    """Read every file and print the findings; exit with status 1 if a run would stop."""
    diagnosis = check_data(config)
    show(with_keys(as_text(diagnosis), config))
    save_report(config, diagnosis)  # last: a full disk loses no findings
    sys.exit(int(diagnosis.would_stop))

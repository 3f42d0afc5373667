"""Read a run's data and say what is wrong: python scripts/check_data.py data=cod (--help tells what can be set)."""

import sys

from omegaconf import DictConfig

from ipsam.cli.command import command
from ipsam.cli.errors import with_data_keys
from ipsam.tools.prepare.data_check import DataCheck, as_text


@command("check_data")
def main(config: DictConfig) -> None:
    """Read every file, print what was found; exit status 1 if it would stop a run."""
    diagnosis = DataCheck.of(config).run()
    print(with_data_keys(as_text(diagnosis)))
    sys.exit(int(diagnosis.would_stop))

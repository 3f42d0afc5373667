"""Running a command: its configuration from files and the command line, with every error in one voice."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

import hydra
from omegaconf import DictConfig

from ipsam.cli.errors import FULL_ERROR, user_errors
from ipsam.cli.help import help_of
from ipsam.utils.resources import CONFIGS


def run(name: str) -> None:
    """Run ``ipsam.cli.<name>`` with the configuration from ``configs/<name>.yaml`` and ``sys.argv``.

    The module is imported only once Hydra has understood the command line: importing torch takes seconds.
    """
    if {"--help", "-h"} & set(sys.argv[1:]):
        print(help_of(name))
        return
    users_own = os.environ.get(FULL_ERROR)

    def task(config: DictConfig) -> None:
        with _environment(FULL_ERROR, users_own), user_errors():
            import_module(f"ipsam.cli.{name}").main(config)

    # Hydra prints its own errors and exits, unless it is told to raise them.
    with user_errors(), _environment(FULL_ERROR, "1"):
        hydra.main(version_base="1.3", config_path=str(CONFIGS), config_name=name)(task)()


@contextmanager
def _environment(name: str, value: str | None) -> Iterator[None]:
    before = os.environ.pop(name, None)
    if value is not None:
        os.environ[name] = value
    try:
        yield
    finally:
        os.environ.pop(name, None)
        if before is not None:
            os.environ[name] = before

"""Commands that Hydra configures: composition from the command line, with every error in one voice."""

import functools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import hydra
from omegaconf import DictConfig

from ipsam.cli.errors import FULL_ERROR, user_errors
from ipsam.utils.resources import CONFIGS


def command(config_name: str) -> Callable[[Callable[[DictConfig], None]], Callable[[], None]]:
    """Make a function a command that takes its configuration from ``configs/<config_name>.yaml`` and ``sys.argv``."""

    def decorate(function: Callable[[DictConfig], None]) -> Callable[[], None]:
        @functools.wraps(function)
        def main() -> None:
            users_own = os.environ.get(FULL_ERROR)

            @functools.wraps(function)
            def run(config: DictConfig) -> None:
                with _environment(FULL_ERROR, users_own), user_errors():
                    function(config)

            # Hydra prints its own errors and exits, unless it is told to raise them.
            with user_errors(), _environment(FULL_ERROR, "1"):
                hydra.main(version_base="1.3", config_path=str(CONFIGS), config_name=config_name)(run)()

        return main

    return decorate


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

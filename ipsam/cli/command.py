"""Running a command: its configuration from files and the command line, with every error in one voice."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig, ListConfig, OmegaConf

from ipsam.cli.errors import FULL_ERROR, user_errors, written_value
from ipsam.cli.help import help_of
from ipsam.cli.overrides import as_typed, in_one_sentence, unknown_key
from ipsam.utils.resources import CONFIGS

SWEEP = {"-m", "--multirun"}  # where commas separate the runs of a sweep


def run(name: str) -> None:
    """Run ``ipsam.cli.<name>`` with the configuration from ``configs/<name>.yaml`` and ``sys.argv``.

    The module is imported only once Hydra has understood the command line: importing torch takes seconds.
    """
    if {"--help", "-h"} & set(sys.argv[1:]):
        print(help_of(name))
        return
    typed, users_own = sys.argv, os.environ.get(FULL_ERROR)
    file = OmegaConf.load(CONFIGS / f"{name}.yaml")
    assert isinstance(file, DictConfig)

    def task(config: DictConfig) -> None:
        with _environment(FULL_ERROR, users_own), _arguments(typed), user_errors(config):
            _check(config, file)
            if config.get("plugins"):
                import_module("ipsam.engine.runs.plugins").trust(config.plugins)
            import_module(f"ipsam.cli.{name}").main(config)

    quoted = typed if SWEEP & set(typed) else [typed[0], *(as_typed(one, file) for one in typed[1:])]
    # With HYDRA_FULL_ERROR=1 Hydra raises its errors instead of printing them.
    with user_errors(), _environment(FULL_ERROR, "1"), _arguments(quoted):
        try:
            hydra.main(version_base="1.3", config_path=str(CONFIGS), config_name=name)(task)()
        except HydraException as error:
            raise error if users_own == "1" else ValueError(in_one_sentence(error, typed[1:], file)) from error


def _check(config: DictConfig, file: DictConfig) -> None:
    """Refuse keys that a command does not have (added by ``+``), and texts in the place of its switches.

    A single value in the place of a list becomes a list of one.
    """
    groups = {str(name).rpartition("/")[2] for entry in file.defaults if not isinstance(entry, str) for name in entry}
    for name in map(str, config):
        if name not in {*file, *groups}:
            raise ValueError(unknown_key(name, "", file))
        default = written_value(file, name)
        if isinstance(default, bool) and not isinstance(config[name], bool):
            raise ValueError(f"{name} must be true or false, not {config[name]!r}")
        if isinstance(default, ListConfig) and isinstance(config[name], str):
            config[name] = [config[name]]


@contextmanager
def _arguments(arguments: list[str]) -> Iterator[None]:
    before, sys.argv = sys.argv, arguments
    try:
        yield
    finally:
        sys.argv = before


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

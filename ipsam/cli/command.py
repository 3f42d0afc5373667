"""Running a command: its configuration from files and the command line, with every error in one voice."""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from typing import Any

import hydra
from hydra._internal.hydra import Hydra
from hydra.errors import HydraException
from omegaconf import DictConfig, ListConfig, OmegaConf

from ipsam.cli.errors import FULL_ERROR, user_errors, written_value
from ipsam.cli.help import help_of
from ipsam.cli.overrides import as_typed, in_one_sentence, unknown_key
from ipsam.utils.console import show
from ipsam.utils.resources import CONFIGS

SWEEP = {"-m", "--multirun"}  # where commas separate the runs of a sweep


def run(name: str) -> None:
    """Run ``ipsam.cli.<name>`` with the configuration from ``configs/<name>.yaml`` and ``sys.argv``.

    The module is imported only once Hydra has understood the command line: importing torch takes seconds.
    """
    if {"--help", "-h"} & set(sys.argv[1:]):
        with user_errors():
            show(help_of(name))
        return
    typed, users_own = sys.argv, os.environ.get(FULL_ERROR)
    file = OmegaConf.load(CONFIGS / f"{name}.yaml")
    assert isinstance(file, DictConfig)

    def task(config: DictConfig) -> None:
        with _environment(FULL_ERROR, users_own), _arguments(typed), user_errors(config):
            _check(config, file, typed)
            config = OmegaConf.create(_from_home(OmegaConf.to_container(config)), flags={"struct": True})
            if config.get("plugins"):
                import_module("ipsam.engine.runs.plugins").trust(config.plugins)
            import_module(f"ipsam.cli.{name}").main(config)

    with user_errors(), ExitStack() as stack:
        if SWEEP & set(typed):
            from ipsam.cli.sweeps.sweep import Sweep, expanded, sweeping

            stack.enter_context(sweeping(Sweep(name, file, full_error=users_own or "0")))
            quoted = [expanded(one) for one in typed]
        else:
            quoted = [typed[0], *(as_typed(one, file) for one in typed[1:])]
            if not any("hydra.mode" in one for one in typed):
                stack.enter_context(_single_run())
        # With HYDRA_FULL_ERROR=1 Hydra raises its errors instead of printing them.
        stack.enter_context(_environment(FULL_ERROR, "1"))
        stack.enter_context(_arguments(quoted))
        try:
            hydra.main(version_base="1.3", config_path=str(CONFIGS), config_name=name)(task)()
        except HydraException as error:
            raise error if users_own == "1" else ValueError(in_one_sentence(error, typed[1:], file)) from error


def _check(config: DictConfig, file: DictConfig, typed: list[str]) -> None:
    """Refuse keys that a command does not have (added by ``+``), and texts in the place of its switches.

    The sections ``data``, ``engine``, ``model`` and ``protocol`` check their own keys. A single value in the place of a
    list becomes a list of one.
    """
    paths = {*(written_value(file, "paths") or OmegaConf.load(CONFIGS / "paths/default.yaml"))}
    for added in filter(None, (re.match(r"\+{1,2}(paths\.(\w+))=(.*)", one) for one in typed)):
        if added[2] not in paths:
            raise ValueError(unknown_key(added[1], added[3], OmegaConf.create({"paths": dict.fromkeys(paths)})))
    groups = {str(name).rpartition("/")[2] for entry in file.defaults if not isinstance(entry, str) for name in entry}
    for name in map(str, config):
        if name not in {*file, *groups}:
            raise ValueError(unknown_key(name, "", file))
        default = written_value(file, name)
        if isinstance(default, bool) and not isinstance(config[name], bool):
            raise ValueError(f"{name} must be true or false, not {config[name]!r}")
        if isinstance(default, ListConfig) and isinstance(config[name], str):
            config[name] = [config[name]]


def _from_home(value: Any) -> Any:
    """Replace ``~/`` at the start of texts by the home folder, which shells do only where a word begins with it."""
    if isinstance(value, dict):
        return {name: _from_home(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_from_home(one) for one in value]
    return os.path.expanduser(value) if isinstance(value, str) and (value == "~" or value.startswith("~/")) else value


@contextmanager
def _single_run() -> Iterator[None]:
    """Spare Hydra composing the configuration twice, the first time only to read ``hydra.mode``."""
    before, Hydra.get_mode = Hydra.get_mode, lambda *_, **__: None
    try:
        yield
    finally:
        Hydra.get_mode = before


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

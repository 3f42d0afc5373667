"""The runs of a sweep: their commands and folders, and what came of them."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from ipsam.cli.overrides import as_typed
from ipsam.utils.options import quoted
from ipsam.utils.signals import StoppedError

AGAIN = ("resume=true", "overwrite=false")  # of ``ipsam train``
IN_NAME = {"experiment", "scale", "seed", "name", "paths.outputs"}  # keys that outputs/NAME/seedN shows
OF_SWEEP = ("hydra/launcher", "hydra.launcher", "hydra/sweeper", "hydra.sweeper", "hydra.sweep", "hydra.mode")
RESULTS = {0: "done", StoppedError.status: "stopped"}
MAX_NAME = 150  # characters of a folder's name


@dataclass
class Run:
    """One run of a sweep.

    Attributes:
        number: from 0.
        values: as typed, by the keys that were overridden.
        arguments: of the command ``ipsam``.
        folder: of an ``ipsam train``.
        starts: how often it was started.
        status: of its process; None for a run that has not ended.
        seconds: that its processes ran.
    """

    number: int
    values: dict[str, str]
    arguments: list[str]
    folder: Path | None
    starts: int = 0
    status: int | None = None
    seconds: float = 0.0

    @property
    def command(self) -> list[str]:
        """The arguments of its next start: one that ended without a result is resumed."""
        return [*self.arguments, *(AGAIN if self.starts and self.folder else ())]

    @property
    def result(self) -> str:
        """Its result in a word or two."""
        if self.status is None:
            return "not ended"
        return RESULTS.get(self.status, "killed" if self.status < 0 else f"failed ({self.status})")


@dataclass
class Sweep:
    """A command that is run many times.

    Attributes:
        command: its name.
        file: its own in configs/.
        full_error: the user's HYDRA_FULL_ERROR.
        runs: those begun so far.
        folder: of the sweep's own files.
    """

    command: str
    file: DictConfig
    full_error: str
    runs: list[Run] = field(default_factory=list)
    folder: Path = Path("outputs/sweeps")

    def new_runs(self, config: DictConfig, loader: Any, overrides: Sequence[Sequence[str]]) -> list[Run]:
        """Compose some runs, each with a folder of its own.

        Args:
            config: of the sweep.
            loader: Hydra's loader of configurations.
            overrides: of each run.

        Raises:
            ValueError: two runs would share a folder.
        """
        typed = parsed(_plain(config.hydra.overrides.task))
        own_folder = next((one.input_line or "" for one in typed if one.key_or_group == "run_dir"), None)
        varied = [_key(one) for one in [*typed, *parsed(_params(config))] if one.is_sweep_override()]
        named = [key for key in varied if own_folder is not None or key not in IN_NAME]
        runs: list[Run] = []
        for given in overrides:
            own = parsed(given)
            values = {_key(one): one.get_value_element_as_str() for one in own}
            texts = [self._typed(one, text) for one, text in zip(own, given, strict=True)]
            arguments = [self.command, *_flags(config), *texts]
            composed = loader.load_sweep_config(config, list(given))
            HydraConfig.instance().set_config(composed)  # for ${hydra:...}
            folder = Path(composed.run_dir).expanduser() if "run_dir" in composed and not composed.plan else None
            if folder is not None and named and "${" not in (own_folder or ""):
                name = folder_name({key: values[key] for key in named if key in values})
                folder = folder / name if own_folder is not None else folder.parent / name / folder.name
                arguments.append(f"run_dir={quoted(str(folder))}")
            runs.append(Run(len(self.runs) + len(runs), values, arguments, folder))
        folders = [run.folder for run in (*self.runs, *runs) if run.folder is not None]
        if twice := next((folder for folder in folders if folders.count(folder) > 1), None):
            raise ValueError(
                f"several runs of the sweep would use {twice}: name what differs in run_dir='...${{seed}}'"
            )
        self.runs += runs
        return runs

    def _typed(self, override: Override, text: str) -> str:
        """Write an override as on the command line of one run, where texts are taken as typed."""
        value = override.value()
        is_text = isinstance(value, str) and as_typed(text, self.file) != text
        return f"{text.partition('=')[0]}={quoted(str(value))}" if is_text else text


def folder_name(values: dict[str, str]) -> str:
    """Name a folder by the values that a sweep varies; other values get another name."""
    text = ",".join(f"{key}={value}" for key, value in values.items())
    name = re.sub(r"[^\w.,=+-]+", "_", text)[:MAX_NAME]
    return name if name == text else f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def parsed(overrides: Any) -> list[Override]:
    """Parse overrides, of which some may be sweeps."""
    found: list[Override] = OverridesParser.create().parse_overrides(list(overrides))
    return found


def _key(override: Override) -> str:
    return str(override.key_or_group)


def _plain(texts: Any) -> Any:
    """Return a list of texts as typed."""
    return OmegaConf.to_container(texts, resolve=False)


def _params(config: DictConfig) -> list[str]:
    """List the overrides of ``hydra.sweeper.params``."""
    return [f"{key}={value}" for key, value in (config.hydra.sweeper.get("params") or {}).items()]


def _flags(config: DictConfig) -> list[str]:
    """List the flags and Hydra's own overrides that each run needs too."""
    sources = config.hydra.runtime.config_sources
    folders = [text for one in sources if one.provider == "command-line" for text in ("--config-dir", one.path)]
    return [
        *folders,
        *(text for text in _plain(config.hydra.overrides.hydra) if not text.lstrip("+").startswith(OF_SWEEP)),
    ]

"""From a composed configuration to a model, and back from a checkpoint's own configuration."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import hydra.utils
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf

from ipsam.utils.options import Options, OptionsError, quoted
from ipsam.utils.resources import CONFIGS
from ipsam.utils.untrusted import read_plain_yaml

if TYPE_CHECKING:
    from ipsam.model import Segmenter
else:
    Segmenter = Any  # commands that build no model do without torch

SECTIONS = ("model", "data", "engine")  # of a run's configuration
DEFAULTS = {"data": "data/base.yaml", "engine": "engine/default.yaml"}  # in configs

Configs = tuple[Path, ...]  # folders in which experiments are looked for, ``configs/`` first
OptionsT = TypeVar("OptionsT", bound=Options)


def build_model(config: DictConfig) -> Segmenter:
    """Instantiate the ``model`` section of a configuration.

    Raises:
        ValueError, FileNotFoundError: a constructor refuses its arguments, with the key in front; a ``_target_`` is not
            a class that may be built; or the model is too large.
        ImportError: a package is missing; the message says how to install it.
    """
    from ipsam.engine.runs.model_section import check_model_section, parameter_budget
    from ipsam.model import Segmenter as Model

    check_model_section(OmegaConf.to_container(config, resolve=True))
    try:
        with parameter_budget():
            model = hydra.utils.instantiate(config, _convert_="all")
    except InstantiationException as error:
        _, found, key = str(error).rpartition("full_key:")  # begins with "model" if the section has its parent
        key = key.strip() if found else ""
        where = key if key.startswith("model") else f"model.{key}".rstrip(".")
        if isinstance(error.__cause__, FileNotFoundError):
            raise FileNotFoundError(f"{where}: {error.__cause__}") from error
        if isinstance(error.__cause__, ImportError) and "pip install" in str(error.__cause__):
            raise ImportError(f"{where}: {error.__cause__}") from error
        raise ValueError(f"{where}: {_reason(error.__cause__ or error)}") from error
    if not isinstance(model, Model):
        raise ValueError(
            f"model._target_ must be a whole model, such as ipsam.model.IPSAM, not {config.get('_target_')}"
        )
    if not hasattr(model, "backbone"):
        raise ValueError(
            f"model: {config.get('_target_')} has no backbone; without pretrained weights, set "
            "self.backbone = ipsam.model.NoBackbone(image_size)"
        )
    return model


def config_folders() -> Configs:
    """Return ``configs/`` and the folders that the command line adds to it, by ``--config-dir`` or hydra.searchpath."""
    sources = HydraConfig.get().runtime.config_sources if HydraConfig.initialized() else []
    return CONFIGS, *(Path(one.path) for one in sources if one.schema == "file" and one.provider != "main")


def as_folders(configs: Path | Configs) -> Configs:
    """Return one folder as a tuple."""
    return (configs,) if isinstance(configs, Path) else configs


def compose_experiment(configs: Path | Configs, name: str, overrides: Sequence[str] = ()) -> DictConfig:
    """Compose the configuration that ``ipsam train experiment=<name>`` runs.

    Args:
        configs: the folder ``configs/`` of the repository, and perhaps others that are searched after it.
        name: of the experiment, such as ``cod_r32`` or ``ablation/spg``.
        overrides: as on the command line.
    """
    first, *others = as_folders(configs)
    search = ",".join(quoted(f"file://{folder.resolve()}") for folder in others)
    GlobalHydra.instance().clear()  # a command composed by Hydra is in the way
    with initialize_config_dir(str(first.resolve()), version_base="1.3"):
        given = [f"hydra.searchpath=[{search}]", f"experiment={name}", f"name={name}", *overrides]
        config: DictConfig = compose("train", given)
    return config


def drop_checkpoints(model: DictConfig) -> None:
    """Set every source of pretrained weights of a ``model`` section to None, in place: the weights are then random."""
    for key in list(model):
        if key in ("checkpoint", "pretrained", "decoder_weights"):
            model[key] = None
        elif isinstance(model[key], DictConfig):
            drop_checkpoints(model[key])


def read_config(path: Path) -> DictConfig:
    """Read the configuration saved with a run, as plain data: no tags, no interpolations.

    Raises:
        FileNotFoundError, ValueError: the file is missing or not a run's configuration.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no configuration at {path}: is this the folder of a run or of a checkpoint?")
    content = read_plain_yaml(path)
    if not isinstance(content, dict) or not all(isinstance(content.get(name), dict) for name in SECTIONS):
        raise ValueError(f"{path} is not a run's configuration: it must hold {', '.join(SECTIONS)}")
    return OmegaConf.create(content)


def plain(value: Any) -> Any:
    """Convert a value of a configuration to plain, resolved Python."""
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def given(config: DictConfig, key: str) -> str:
    """Return a required value of the command line.

    Raises:
        ValueError: it is missing.
    """
    if OmegaConf.is_missing(config, key):
        raise ValueError(f"{key}=... is missing; --help tells what it takes")
    return str(config[key])


def as_dict(config: DictConfig) -> dict[str, Any]:
    """Convert a section to a dictionary of plain, resolved values."""
    container = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


def flat(node: Any, prefix: str = "") -> list[tuple[str, Any]]:
    """List the values of nested dictionaries with their dotted keys."""
    if isinstance(node, dict):
        return [pair for key, child in node.items() for pair in flat(child, f"{prefix}.{key}" if prefix else str(key))]
    return [(prefix, node)]


def settings_of(cls: type[OptionsT], values: Mapping[str, Any] | DictConfig, section: str) -> OptionsT:
    """Check a section of a configuration; what it leaves out is as in the section's file of defaults.

    Args:
        cls: class of the section, or of one inside it.
        values: the section.
        section: its key, such as ``engine`` or ``data.augment``.

    Raises:
        OptionsError: a key is unknown, or a value is impossible; with the whole key.
    """
    given: Mapping[str, Any] = as_dict(values) if isinstance(values, DictConfig) else values
    try:
        return cls(**_merged(defaults(section), given))
    except OptionsError as error:
        raise error.under(section) from None


def defaults(section: str) -> dict[str, Any]:
    """Return the defaults of a section, or of one inside it such as ``data.augment``, without what must be given."""
    name, *inner = section.split(".")
    config = OmegaConf.load(CONFIGS / DEFAULTS[name])
    values: Any = OmegaConf.to_container(config)
    for key in inner:
        values = values[key]
    return {key: value for key, value in values.items() if not str(value).startswith(("${", "???"))}


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    both = {key for key in below if isinstance(below[key], dict) and isinstance(above.get(key), Mapping)}
    return {**below, **above, **{key: _merged(below[key], above[key]) for key in both}}


def _reason(error: BaseException) -> str:
    """Return the whole message of a ValueError, and the type and first line of any other error."""
    if isinstance(error, ValueError):
        return str(error)
    return ": ".join([type(error).__name__, *str(error).splitlines()[:1]])

"""Checks of a configuration's ``model`` section before it is built: it may have come with a checkpoint."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

import ipsam.model
import ipsam.model.baselines
from ipsam.engine.runs.plugins import class_of

MAX_NUMBER = 8192  # of any width, depth or size; the largest in configs/ is 2048
MAX_PARAMETERS = 1_000_000_000  # SAM with ViT-H, the largest model here, has 641 million
MAX_TENSORS = 10_000  # several times as many as any model here has

NOT_BUILT = ("Backbone", "Fusion", "IPSAMOutput", "NoBackbone", "Segmenter", "SelfPrompts")  # outputs and base classes

# Exactly the public classes of ipsam.model and its baselines. A prefix would not be enough: Hydra would follow
# "ipsam.model.lora.torch.load" out of the package.
TARGETS: dict[str, Any] = {
    f"{package.__name__}.{name}": getattr(package, name)
    for package in (ipsam.model, ipsam.model.baselines)
    for name in package.__all__
    if name not in NOT_BUILT
}
TARGET = "_target_"


def check_model_section(section: Any) -> None:
    """Check that a resolved section builds only permitted classes, with arguments of the types that they take.

    Raises:
        ValueError: it does not; with the key.
    """
    _check_targets(section, "model")
    _check_values(section, "model")


def _check_targets(node: Any, key: str) -> None:
    if isinstance(node, dict):
        target = node.get(TARGET)
        if target is not None and _class_of(target) is None:
            package = str(target).partition(".")[0]
            raise ValueError(
                f"{key}._target_ is {target!r:.99}; allowed are {', '.join(sorted(TARGETS))}, and modules and "
                f"dataclasses of a package that you trust and name: plugins=[{package:.99}]"
            )
        if switches := [name for name in node if str(name).startswith("_") and name != TARGET]:
            raise ValueError(f"{key}.{switches[0]} is a key of Hydra, not an argument of a model")
        for name, child in node.items():
            _check_targets(child, f"{key}.{name}")
    elif isinstance(node, list):
        for position, child in enumerate(node):
            _check_targets(child, f"{key}[{position}]")


def _class_of(target: Any) -> type | None:
    """Return the class of this project, or of a plugin, that a ``_target_`` names; None if it may not be built."""
    if not isinstance(target, str) or target in TARGETS:
        return TARGETS.get(target) if isinstance(target, str) else None
    found = class_of(target)
    return found if found is not None and (issubclass(found, nn.Module) or is_dataclass(found)) else None


def _hints(target: str) -> dict[str, Any]:
    try:
        return get_type_hints(_class_of(target).__init__)  # type: ignore[misc]
    except NameError:  # a plugin's annotation of a name that exists for type checkers only
        return {}


def _check_values(node: Any, key: str) -> None:
    if isinstance(node, dict):
        target = node.get(TARGET)
        hints = {} if target is None else _hints(target)
        for name, child in node.items():
            if name in hints and not _fits(child, hints[name]):
                raise ValueError(f"{key}.{name} must be {_words(hints[name])}, not {_shown(child)}")
            _check_values(child, f"{key}.{name}")
    elif isinstance(node, list):
        for position, child in enumerate(node):
            _check_values(child, f"{key}[{position}]")
    elif isinstance(node, int) and abs(node) > MAX_NUMBER:
        raise ValueError(f"{key} must be at most {MAX_NUMBER}, not {node}")


def _fits(value: Any, hint: Any) -> bool:
    """Return whether a value of a configuration has an annotated type once it is built."""
    if hint is Any:
        return True
    if get_origin(hint) in (Union, UnionType):
        return any(_fits(value, one) for one in get_args(hint))
    if get_origin(hint) is Sequence:
        return isinstance(value, list) and all(_fits(entry, get_args(hint)[0]) for entry in value)
    if isinstance(value, dict):
        return value.get(TARGET) is not None and issubclass(_class_of(value[TARGET]) or object, hint)
    if hint is float:
        hint = (int, float)
    return isinstance(value, (str, Path) if hint is Path else hint) and (not isinstance(value, bool) or hint is bool)


def _words(hint: Any) -> str:
    if get_origin(hint) in (Union, UnionType):
        return " or ".join(map(_words, get_args(hint)))
    if hint is type(None):
        return "null"
    if get_origin(hint) is Sequence:
        return f"a list of {_words(get_args(hint)[0])}"
    name = str(getattr(hint, "__name__", hint))
    return f"a subclass of {hint.__module__}.{name}" if isinstance(hint, type) and issubclass(hint, nn.Module) else name


def _shown(value: Any) -> str:
    return f"{value!r:.99}{' without a _target_' if isinstance(value, dict) and TARGET not in value else ''}"


@contextmanager
def parameter_budget() -> Iterator[None]:
    """Raise ValueError in a model's constructor as soon as its parameters exceed the limits."""
    num_tensors = num_parameters = 0

    def count(_: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        nonlocal num_tensors, num_parameters
        num_tensors += 1
        num_parameters += 0 if parameter is None else parameter.numel()
        if num_tensors > MAX_TENSORS or num_parameters > MAX_PARAMETERS:
            raise ValueError(
                f"the model is larger than any of this project, with over {MAX_PARAMETERS:,} parameters or "
                f"{MAX_TENSORS:,} tensors of them (the limit was met at {name}): make it narrower or less deep"
            )

    hook = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        hook.remove()

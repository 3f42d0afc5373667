"""Packages of the user's own whose classes a model may name besides those of ipsam.

A package is trusted for the rest of the process, and only where the user names it: by ``plugins=[my_pkg]``, or by
``_target_: my_pkg.MyGating`` in the configuration of a training run that she composes herself. The configuration that
comes with a checkpoint or a model's folder never adds one.
"""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import hydra.utils

OWN = "ipsam"
_trusted: set[str] = set()


def trust(packages: Iterable[str]) -> None:
    """Let models name classes that some packages define. The working folder is searched for them too, after all others.

    Raises:
        ValueError: a name is not a package's.
    """
    for package in packages:
        if not all(part.isidentifier() for part in package.split(".")):
            raise ValueError(f"plugins: {package!r:.99} is not the name of a package; write plugins=[my_package]")
        _trusted.add(package)
    if _trusted and (folder := str(Path.cwd())) not in sys.path:
        sys.path.append(folder)


def packages_named(section: Any) -> Iterator[str]:
    """Yield the packages, other than ipsam's, whose classes a ``model`` section names."""
    if isinstance(section, dict):
        package, dot, _ = str(section.get("_target_", "")).partition(".")
        if dot and package != OWN and package.isidentifier():
            yield package
    if isinstance(section, dict | list):
        for child in section.values() if isinstance(section, dict) else section:
            yield from packages_named(child)


def class_of(target: str) -> type | None:
    """Import the class that a ``_target_`` names; None if no trusted package defines it.

    A name such as ``my_pkg.torch.load`` leads out of a package: the class must have been defined in it.

    Raises:
        ValueError: the package cannot be imported.
    """
    package = next((one for one in _trusted if target.startswith(f"{one}.")), None)
    if package is None:
        return None
    try:
        found = hydra.utils.get_object(target)
    except Exception as error:  # whatever the user's own module raises
        raise ValueError(f"_target_ {target} cannot be imported: {error.__cause__ or error!s:.300}") from error
    is_own = isinstance(found, type) and f"{found.__module__}.".startswith(f"{package}.")
    return found if is_own else None

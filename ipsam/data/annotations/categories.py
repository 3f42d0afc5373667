"""Categories of a set that are foreground."""

from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from ipsam.data.files import some

Id = TypeVar("Id", bound=Hashable)


@dataclass(frozen=True)
class Categories:
    """Categories that a user has chosen, by name or number; none chosen: all are foreground."""

    chosen: tuple[str, ...] = ()

    @classmethod
    def of(cls, value: object, label: str) -> "Categories":
        """Read a set's ``category``: one, or a list; ValueError names the set."""
        values = value if isinstance(value, list | tuple) else [value]
        if not values or not all(isinstance(one, str | int) for one in values):
            raise ValueError(
                f"{label}: category must be a list of names or numbers, [CATEGORY, ...], not {value!r:.99}"
            )
        return cls(tuple(map(str, values)))

    def ids(self, names: Mapping[Id, str], path: Path) -> Collection[Id]:
        """Return the ids, of some with their names, that are foreground; ValueError if a chosen one is unknown."""
        if not self.chosen:
            return names.keys()
        found = {one: {key for key, name in names.items() if one in (name, str(key))} for one in self.chosen}
        if unknown := [one for one, ids in found.items() if not ids]:
            known = dict.fromkeys(name if name == str(key) else f"{name} ({key})" for key, name in names.items())
            raise ValueError(
                f"{path}: no category is called {', '.join(unknown)}; there are {some(map(str, known), 20) or 'none'}"
            )
        return set().union(*found.values())

"""Images and masks that are no files of their own: encoded within a larger file, or drawn from an annotation."""

import zlib
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Item(ABC):
    """Image or mask within another file.

    Attributes:
        path: its name in messages, such as ``annotations.json (a.jpg)``; no two items of a set share it.
    """

    path: Path

    @property
    def name(self) -> str:
        """Name without folders."""
        return self.path.name

    @property
    def parent(self) -> Path:
        """Folder of the file that holds the item."""
        return self.path.parent

    @abstractmethod
    def key(self) -> str:
        """Identify the content, wherever it is stored."""


@dataclass(frozen=True)
class Encoded(Item):
    """Content of an image file within another file.

    Attributes:
        labels: of a mask, the grey values that are foreground; empty: those above the threshold, as in a file.
    """

    labels: frozenset[int] = field(default=frozenset(), kw_only=True)

    @abstractmethod
    def content(self) -> bytes:
        """Read the content; ValueError if it is not there."""

    def key(self) -> str:
        """Return the content's size in bytes and checksum, with the labels."""
        content = self.content()
        return " ".join([str(len(content)), f"{zlib.crc32(content):08x}", *map(str, sorted(self.labels))])


Stored = Path | Item  # a file, or a part of one


def name_of(stored: Stored) -> Path:
    """Return the path of a file, or an item's name in messages."""
    return stored if isinstance(stored, Path) else stored.path


def identity(stored: Stored) -> str:
    """Return the name and the size in bytes of a file, or the name and key of an item."""
    return f"{stored.name} {stored.stat().st_size if isinstance(stored, Path) else stored.key()}"

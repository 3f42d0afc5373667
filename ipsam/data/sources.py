"""Sources of samples, folders on disk or the synthetic generator, behind one small interface."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ipsam.data.images import FOREGROUND_ABOVE, read_image, read_mask
from ipsam.data.items import identity
from ipsam.data.pairs import Pair
from ipsam.data.synthetic.scenes import camouflaged_scene


@dataclass(frozen=True)
class Sample:
    """One image with its mask.

    Attributes:
        name: the image's stem.
        image: RGB, (height, width, 3) uint8.
        mask: 255 on the object, else 0; (height, width) uint8. Its size may differ from the image's.
    """

    name: str
    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]


@runtime_checkable
class Source(Protocol):
    """Finite list of samples, which may change with the epoch."""

    def __len__(self) -> int: ...
    def read(self, index: int, epoch: int) -> Sample:
        """Read sample ``index`` of an epoch into memory of its own."""
        ...

    def names(self) -> list[str]:
        """Return the names of epoch 0's samples, in order, without reading them."""
        ...

    def listing(self) -> Iterator[str]:
        """Yield lines that identify the samples, wherever they are stored."""
        ...


@dataclass(frozen=True)
class FolderSource:
    """Pairs on disk, the same in every epoch.

    Attributes:
        pairs: the files, or items within files.
        foreground_above: mask values above it are foreground.
        at_least: allows to read images smaller than they are stored, see ``read_image``; masks never are.
        left_out: stems that were left out, by the reason.
    """

    pairs: Sequence[Pair]
    foreground_above: int = FOREGROUND_ABOVE
    at_least: int | None = None
    left_out: Mapping[str, list[str]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.pairs)

    def read(self, index: int, epoch: int) -> Sample:  # noqa: ARG002 (the interface's)
        """Read pair ``index``."""
        pair = self.pairs[index]
        image = read_image(pair.image, at_least=self.at_least)
        return Sample(pair.stem, image, read_mask(pair.mask, self.foreground_above))

    def names(self) -> list[str]:
        """Return the images' stems."""
        return [pair.stem for pair in self.pairs]

    def listing(self) -> Iterator[str]:
        """Yield stem, file names and sizes in bytes of each pair; of what is no file, a hash instead."""
        for pair in self.pairs:
            yield "\t".join((pair.stem, identity(pair.image), identity(pair.mask)))


@dataclass(frozen=True)
class SyntheticSource:
    """Camouflaged scenes, drawn when they are read; each epoch has new ones.

    Attributes:
        length: scenes an epoch.
        size: side of a scene in pixels.
        difficulty: (lowest, highest); each scene's difficulty is uniform between them.
        stream: seeds of this list of scenes.
    """

    length: int
    size: int
    difficulty: tuple[float, float]
    stream: tuple[int, ...]

    def __len__(self) -> int:
        return self.length

    def read(self, index: int, epoch: int) -> Sample:
        """Draw scene ``index`` of an epoch."""
        rng = np.random.default_rng((*self.stream, epoch, index))
        scene = camouflaged_scene(rng, size=self.size, difficulty=float(rng.uniform(*self.difficulty)))
        return Sample(_scene_name(epoch, index), scene.image, scene.mask)

    def names(self) -> list[str]:
        """Return names made of epoch 0 and the index."""
        return [_scene_name(0, index) for index in range(self.length)]

    def listing(self) -> Iterator[str]:
        """Yield the parameters of the scenes."""
        yield repr(self)


@dataclass(frozen=True)
class SubsetSource:
    """Some samples of a source, by index."""

    source: Source
    indices: Sequence[int]

    def __len__(self) -> int:
        return len(self.indices)

    def read(self, index: int, epoch: int) -> Sample:
        """Read sample ``indices[index]`` of the source."""
        return self.source.read(self.indices[index], epoch)

    def names(self) -> list[str]:
        """Return the names at ``indices``."""
        names = self.source.names()
        return [names[index] for index in self.indices]

    def listing(self) -> Iterator[str]:
        """Yield the source's listing and the indices."""
        yield from self.source.listing()
        yield repr(list(self.indices))


@dataclass(frozen=True)
class JoinedSource:
    """Several sources, one after the other."""

    sources: Sequence[Source]

    def __len__(self) -> int:
        return sum(len(source) for source in self.sources)

    def read(self, index: int, epoch: int) -> Sample:
        """Read sample ``index``, counted through all sources."""
        for source in self.sources:
            if index < len(source):
                return source.read(index, epoch)
            index -= len(source)
        raise IndexError(index)

    def names(self) -> list[str]:
        """Return the names of all sources."""
        return [name for source in self.sources for name in source.names()]

    def listing(self) -> Iterator[str]:
        """Yield the listings of all sources."""
        for source in self.sources:
            yield from source.listing()


def _scene_name(epoch: int, index: int) -> str:
    return f"scene_{epoch:03d}_{index:05d}"

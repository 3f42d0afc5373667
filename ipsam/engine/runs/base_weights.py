"""SAM 2.1's files: where they lie, or fetched once, and checked."""

from pathlib import Path

from ipsam.model.sam2_checkpoints import OFFICIAL_FILES
from ipsam.utils.folders import cache_folder
from ipsam.utils.resources import CHECKPOINTS


def find_base(wanted: str | Path, *, fetch: bool = True) -> Path:
    """The file of pretrained weights that a model names.

    Args:
        wanted: its path. If nothing lies there, and it bears an official file's name, it is looked for in
            ``checkpoints/`` and the cache.
        fetch: download it to the cache where it is nowhere.

    Raises:
        ValueError, OSError: it could not be fetched, or what came is not the official file.
    """
    path = Path(wanted)
    official = OFFICIAL_FILES.get(path.name)
    if path.exists() or official is None:
        return path
    for folder in (Path("checkpoints"), CHECKPOINTS, cache_folder()):
        if (folder / path.name).is_file():
            return folder / path.name
    if not fetch:
        return path
    from ipsam.engine.runs.fetch import fetch_sam2  # here, as nobody else needs what it imports

    return fetch_sam2(path.name, cache_folder())

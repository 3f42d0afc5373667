"""Find pictures and videos to predict: a file, a folder tree or a glob."""

import glob
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import takewhile
from pathlib import Path

from ipsam.data.drawings import check_pycocotools
from ipsam.data.files import EXTENSIONS
from ipsam.engine.inference.coco import KINDS as COCO
from ipsam.engine.inference.prediction import KINDS
from ipsam.engine.inference.record import RECORD, recorded_kinds
from ipsam.utils.folders import folders_below

# Of the containers that video_reader opens.
MPEG = (".m2ts", ".mpeg", ".mpg", ".mts", ".ts")
VIDEOS = (".mp4", ".m4v", ".mov", ".3gp", ".mkv", ".webm", ".avi", ".flv", ".ogv", ".wmv", *MPEG)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)  # half the memory, of which each file takes some
class FileJob:
    """An input file, and the output file of each kind of picture.

    Attributes:
        source: the input file.
        output: folder of the predictions.
        name: of an output file, below the folder of its kind.
        kinds: some of ``KINDS``.
    """

    source: Path
    output: Path
    name: str
    kinds: tuple[str, ...]

    @property
    def targets(self) -> dict[str, Path]:
        """Output file of each kind."""
        files = {kind: self.output / kind / self.name for kind in self.kinds}
        return {kind: path.with_suffix(".json") if kind in COCO else path for kind, path in files.items()}

    @property
    def is_video(self) -> bool:
        """Return whether the input is a video, by its ending."""
        return self.source.suffix.lower() in VIDEOS


def find_jobs(source: str, output: Path, kinds: Sequence[str]) -> list[FileJob]:
    """Find every picture and video of an input, and name the output files.

    Predictions of earlier runs, hidden files and files of other kinds are passed over; the last are counted in the log.

    Args:
        source: a file; a folder, searched to any depth; or a glob such as ``photos/**/*.jpg``.
        output: folder of the predictions, which gets a folder for each kind.
        kinds: some of ``KINDS``.

    Raises:
        FileNotFoundError: the input does not exist.
        ValueError: the input holds no picture or video; a kind is unknown; or an input file would be overwritten.
    """
    given = kinds if isinstance(kinds, list | tuple) else [kinds]
    if not given or any(kind not in KINDS for kind in given):
        raise ValueError(f"save takes some of {', '.join(KINDS)}, not {', '.join(map(str, given)) or 'nothing'}")
    if wanted := set(kinds) & set(COCO):
        check_pycocotools(f"save=[{', '.join(sorted(wanted))}]")
    root, files = _files(source)
    inside = output.resolve()
    if root.resolve() in inside.parents:
        files = [file for file in files if inside not in file.resolve().parents]
    endings = (*EXTENSIONS, *VIDEOS)
    names = {file: file.relative_to(root).with_suffix("") for file in files if file.suffix.lower() in endings}
    if not names:
        raise ValueError(
            f"input={source}: no picture or video among {len(files)} files; known are {', '.join(endings)}"
        )
    if others := Counter(file.suffix.lower() or "no ending" for file in files if file not in names):
        listed = ", ".join(f"{number} {ending}" for ending, number in sorted(others.items()))
        logger.warning("%s: %d not read (%s); save pictures as PNG", source, others.total(), listed)
    for _ in range(2):  # a.jpg beside a.png; then a.jpg.png beside them
        times = Counter(names.values())
        names = {file: name.with_name(file.name) if times[name] > 1 else name for file, name in names.items()}
    own, jobs, each_kind = set(map(os.path.realpath, files)), [], tuple(kinds)
    for file, name in sorted(names.items()):
        ending = ".mp4" if file.suffix.lower() in VIDEOS else ".png"
        jobs.append(FileJob(file, output, f"{name}{ending}", each_kind))
        if clash := [path for path in jobs[-1].targets.values() if os.path.realpath(path) in own]:
            raise ValueError(f"output={output}: {clash[0]} is an input and would be overwritten; name another folder")
    return jobs


def _files(source: str) -> tuple[Path, list[Path]]:
    """Return the folder that output paths are relative to, and all files but hidden ones and predictions."""
    path = Path(source).expanduser()
    if path.is_file():
        return path.parent, [path]
    if path.is_dir():
        root = path
        folders, messages = folders_below(root)
        for message in messages:
            logger.warning("%s", message)
        below = (file for folder in folders for file in folder.iterdir() if file.is_file())
        files = [file for file in below if not any(part.startswith(".") for part in file.relative_to(root).parts)]
    else:
        root = Path(*takewhile(lambda part: not glob.has_magic(part), path.parts[:-1]))
        files = _without_repetition(name for name in map(Path, glob.glob(str(path), recursive=True)) if name.is_file())
        if not files:
            raise FileNotFoundError(f"input={source}: no such file or folder, and no file matches it as a glob")
    kinds = cache(recorded_kinds)
    files = [file for file in files if file.name != RECORD]
    return root, [file for file in files if not _is_prediction(file.relative_to(root), root, kinds)]


def _without_repetition(files: Iterable[Path]) -> list[Path]:
    """Drop files that a link shows again: a folder may hold a link to itself."""
    longest_first = sorted(files, key=lambda file: (len(file.parts), file), reverse=True)
    return list({(os.path.realpath(file.parent), file.name): file for file in longest_first}.values())


def _is_prediction(file: Path, root: Path, kinds: Callable[[Path], set[str]]) -> bool:
    """Return whether a file, relative to ``root``, lies in a folder that predictions.json calls one of predictions."""
    return any(folder.name in kinds(root / folder.parent) for folder in file.parents if folder.name)

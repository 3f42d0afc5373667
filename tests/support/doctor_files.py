"""Sets of six pairs for the data doctor, ways to damage them, and a check whether a run on them fails."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from ipsam.data import Data
from ipsam.tools.prepare.doctor import Diagnosis, diagnose
from support.defaults import data_with

Damage = Callable[[Path], object]  # takes the folder of the set ``own``
STEMS = tuple("abcdef")
SIZE = (40, 50)


def picture(seed: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """A unique image (H, W, 3) of smooth blotches of colour."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 7, 3), dtype=np.uint8)
    return cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC)


def mask(size: tuple[int, int] = SIZE) -> np.ndarray:
    values = np.zeros(size, np.uint8)
    values[size[0] // 4 : size[0] // 2, size[1] // 4 : size[1] // 2] = 255
    return values


def save(path: Path, pixels: np.ndarray, kind: str | None = None) -> None:
    """Write pixels (RGB or grey) in the format ``kind``, such as ``.png``; by default the file name's."""
    ok, content = cv2.imencode(kind or path.suffix, pixels[..., ::-1] if pixels.ndim == 3 else pixels)
    assert ok
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.tobytes())


def write_set(
    root: Path, name: str, seed: int, *, images: str = "img", masks: str = "gt", stems=STEMS
) -> dict[str, Any]:
    """Write six pairs to root/name/img and root/name/gt; return the set as a mapping."""
    for number, stem in enumerate(stems):
        save(root / name / images / f"{stem}.jpg", picture(seed + number))
        save(root / name / masks / f"{stem}.png", mask())
    return {"name": name, "images": f"{name}/{images}", "masks": f"{name}/{masks}"}


def png_header(width: int, height: int) -> bytes:
    """Return the start of a PNG of a declared size."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    head = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return head + struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))


def own_data(root: Path, **options: Any) -> Data:
    """Train on the set ``own`` and test on ``other``."""
    own, other = ({"name": name, "images": f"{name}/img", "masks": f"{name}/gt"} for name in ("own", "other"))
    return data_with(**{"image_size": 32, "root": root, "train": [own], "test": [other]} | options)


def found(diagnosis: Diagnosis, label: str | None = None) -> dict[str, str]:
    """Return the severity of each kind of finding, in one set or in all."""
    findings = [finding for one in diagnosis.sets if label in (None, one.label) for finding in one.findings]
    return {finding.kind: finding.severity for finding in [*findings, *diagnosis.of_all]}


def message(diagnosis: Diagnosis, kind: str) -> str:
    """Return the only message of a kind."""
    findings = [*diagnosis.of_all, *(finding for one in diagnosis.sets for finding in one.findings)]
    (only,) = (finding.message for finding in findings if finding.kind == kind)
    return only


def examined(data: Data) -> Diagnosis:
    """Diagnose in this process."""
    return diagnose(data, num_workers=0)


def stops(data: Data) -> bool:
    """Return whether a run that reads every sample ends in an error."""
    try:
        train_set, val_set = data.train_and_val(0)
        for dataset in (train_set, val_set, *data.test_sets().values()):
            for index in range(0 if dataset is None else len(dataset)):
                dataset[index]
    except (ValueError, OSError):
        return True
    return False


def case(name: str, damage: Damage, *, error: str = "", warning: str = "", remark: str = "", **options: Any) -> Any:
    """Return a test parameter: damage, options of data, and the expected kinds of findings."""
    kinds = {error: "error", warning: "warning", remark: "remark"}
    return pytest.param(damage, options, {kind: severity for kind, severity in kinds.items() if kind}, id=name)


def check(root: Path, damage: Damage, options: dict[str, Any], expected: dict[str, str]) -> None:
    """Check the expected findings, and that there is an error exactly if a run stops."""
    write_set(root, "own", seed=0)
    write_set(root, "other", seed=50)
    damage(root / "own")
    data = own_data(root, **options)
    diagnosis = examined(data)
    assert found(diagnosis) == expected
    assert diagnosis.would_stop == ("error" in expected.values()) == stops(data)


def nothing() -> Damage:
    return lambda own: None


def drop(*names: str) -> Damage:
    return lambda own: [(own / name).unlink() for name in names]


def write(name: str, content: bytes) -> Damage:
    return lambda own: (own / name).write_bytes(content)


def shorten(name: str, share: float) -> Damage:
    """Truncate a file to a share of its length."""

    def damage(own: Path) -> None:
        content = (own / name).read_bytes()
        (own / name).write_bytes(content[: int(share * len(content))])

    return damage


def put(name: str, pixels: np.ndarray, kind: str | None = None) -> Damage:
    return lambda own: save(own / name, pixels, kind)


def put_mode(name: str, pixels: np.ndarray, mode: str, **options: Any) -> Damage:
    """Write with Pillow, in one of its modes."""
    return lambda own: Image.fromarray(pixels).convert(mode).save(own / name, **options)


def all_masks(pixels: np.ndarray) -> Damage:
    return lambda own: [save(path, pixels) for path in (own / "gt").iterdir()]


def together(*damages: Damage) -> Damage:
    return lambda own: [damage(own) for damage in damages]

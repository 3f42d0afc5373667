"""Record of what made the predictions in a folder, so that those of two models are never taken for one another."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from ipsam import __version__
from ipsam.engine.inference.base import BasePredictor
from ipsam.engine.inference.prediction import KINDS
from ipsam.utils.files import write_json
from ipsam.utils.lock import hold
from ipsam.utils.untrusted import read_plain_json
from ipsam.utils.weights import sha256_of

RECORD = "predictions.json"  # beside the folders of the kinds
LOCK = ".lock"
COMPARED = ("weights", "configuration", "precision")  # the rest is for people

Maker = dict[str, str]


def maker_of(predictor: BasePredictor, ckpt: str) -> Maker:
    """Describe what a loaded model's predictions depend on; ``ckpt`` is its name for people."""
    weights, section = predictor.made_of()
    model = json.dumps(section, sort_keys=True)
    model += " letterbox" * predictor.letterbox  # added, so that older records keep their value
    if changed := predictor.options.model_dump(exclude_defaults=True):
        model += json.dumps(changed, sort_keys=True)
    return {
        "weights": sha256_of(weights),
        "configuration": hashlib.sha256(model.encode()).hexdigest(),
        "precision": "bf16" if predictor.bf16 else "fp32",
        "ckpt": ckpt,
        "ipsam": __version__,
    }


def recorded_kinds(folder: Path) -> set[str]:
    """Return the kinds of predictions in a folder, by its record; none if it has no record."""
    return set(_read(folder / RECORD) or ())


def claim(output: Path, targets: Mapping[str, Iterable[Path]], maker: Maker, *, overwrite: bool) -> None:
    """Write down what makes the predictions in a folder, unless others are there; several commands may do so at a time.

    Args:
        output: folder of the predictions.
        targets: files to be written, by kind.
        overwrite: remove predictions by another model, precision or options, unless some of them are no targets.

    Raises:
        ValueError: another maker's predictions are there, or files of unknown origin.
    """
    output.mkdir(parents=True, exist_ok=True)
    with hold(output / LOCK, wait=True):  # else two shards might each remove what the other has written
        _claim(output, targets, maker, overwrite=overwrite)


def _claim(output: Path, targets: Mapping[str, Iterable[Path]], maker: Maker, *, overwrite: bool) -> None:
    record = _read(output / RECORD)
    if record is None and (output / RECORD).exists():
        raise ValueError(f"output={output}: its {RECORD} is not one that predict wrote; name another folder")
    record, replaced = record or {}, []
    for kind, paths in targets.items():
        others = [path for path in (output / kind).rglob("*") if path.is_file() and not path.name.startswith(".")]
        earlier = record.get(kind)
        if not others or (earlier and all(earlier[key] == maker[key] for key in COMPARED)):
            continue
        if earlier is None:
            raise ValueError(
                f"output={output}: {output / kind} holds {len(others)} files that predict has no record of; name "
                "another folder, or move them away"
            )
        if not (covered := set(others) <= set(paths)) or not overwrite:
            way_out = "say overwrite=true" if covered else "remove that one"
            raise ValueError(
                f"output={output}: {output / kind} holds {len(others)} predictions by another model or precision, or "
                f"with other options (ckpt={earlier['ckpt']}, {earlier['precision']}); name another folder, or "
                f"{way_out}"
            )
        replaced += others
    for path in replaced:  # only once no kind is refused
        path.unlink()
    write_json(output / RECORD, record | dict.fromkeys(targets, maker))


def _read(path: Path) -> dict[str, Maker] | None:
    """Read a record; None without one, or if another program wrote the file."""
    try:
        content: dict[str, Maker] = read_plain_json(path)
        if set(content) <= set(KINDS) and all(set(COMPARED) | {"ckpt"} <= maker.keys() for maker in content.values()):
            return content
    except (OSError, ValueError, AttributeError, TypeError):
        pass
    return None

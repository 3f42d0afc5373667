"""Training states that somebody broke, or made to do harm."""

import io
import pickle
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

import torch


def zipped(records: Mapping[str, bytes]) -> bytes:
    """An archive of any records."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in records.items():
            archive.writestr(name, content)
    return file.getvalue()


class Payload:
    """Calls a function where it is unpickled by who trusts it."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def archived(content: Any, *, legacy: bool = False) -> bytes:
    """As ``torch.save`` writes it; ``legacy``: as it did before version 1.6."""
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=not legacy)
    return file.getvalue()


def rebuilt(content: bytes, change: Callable[[str, bytes], bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    """An archive with other records."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(file, "w", compression) as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return file.getvalue()


def of_pickle(pickled: bytes) -> bytes:
    """An archive with this pickle in it."""
    return rebuilt(archived({}), lambda name, old: pickled if name.endswith(".pkl") else old)


def _doubled_text(times: int) -> bytes:
    """A pickle of some 100 bytes that makes 2**times."""
    start = b"\x80\x02c_codecs\nencode\nq\x00X\x04\x00\x00\x00aaaaX\x06\x00\x00\x00latin1\x86R"
    return start + b"q\x01h\x00h\x01X\x03\x00\x00\x00hex\x86R" * times + b"."


def _training(change: Callable[[dict[str, Any]], object]) -> Callable[[bytes], bytes]:
    """Changes what training.pt holds."""

    def changed(content: bytes) -> bytes:
        state = torch.load(io.BytesIO(content), weights_only=True)
        change(state)
        return archived(state)

    return changed


def _set(*keys: Any, value: Any) -> Callable[[bytes], bytes]:
    def change(state: Any) -> None:
        for key in keys[:-1]:
            state = state[key]
        state[keys[-1]] = value() if callable(value) else value

    return _training(change)


MOMENT = ("optimizer", "state", 0)
GENERATORS = ("rng", 0)


def _stretched() -> torch.Tensor:
    """A tensor of 4 bytes that says it has a million million numbers."""
    return torch.zeros(1).expand(1 << 40)


TRAININGS: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda content: b"",
    "text": lambda content: b"<html>404</html>",
    "an archive of nothing": lambda content: zipped({}),
    "an archive of paths": lambda content: zipped({"../../canary": b"x", "/tmp/canary": b"x", "a/data.pkl": b"N."}),
    "a list": lambda content: archived([1, 2]),
    "an empty dictionary": lambda content: archived({}),
    "of the old format": lambda content: archived(torch.load(io.BytesIO(content), weights_only=True), legacy=True),
    "a pickle by itself": lambda content: pickle.dumps({"progress": 1}),
    "packed": lambda content: rebuilt(content, lambda _, old: old, zipfile.ZIP_DEFLATED),
    "a bomb of 512 MB": lambda content: rebuilt(
        archived({"a": torch.zeros(4)}),
        lambda name, old: bytes(1 << 29) if name.endswith("data/0") else old,
        zipfile.ZIP_DEFLATED,
    ),
    "a text doubled 34 times": lambda content: of_pickle(_doubled_text(34)),
    "an array of 100 GB": lambda content: of_pickle(b"\x80\x02c__builtin__\nbytearray\n\x8a\x06\0\0\0\0\x19\0\x85R."),
    "a tensor of 4 TB": lambda content: of_pickle(b"\x80\x02ctorch\nTensor\n\x8a\x06\0\0\0\0\0\x01\x85R."),
    "a pickle of 9 MB": lambda content: of_pickle(b"\x80\x02]" + b"(K\x01e" * 2_300_000 + b"."),
    "a record shorter than it says": lambda content: rebuilt(
        content, lambda name, old: old[:-4] if "/data/" in name else old
    ),
    "without random states": _training(lambda state: state.pop("rng")),
    "without an optimiser": _training(lambda state: state.pop("optimizer")),
    "without progress": _training(lambda state: state.pop("progress")),
    "of two processes": _training(lambda state: state["rng"].append(state["rng"][0])),
    "random states by name": _training(lambda state: state.update(rng={0: state["rng"][0]})),
    "a number for random states": _set("rng", value=5),
    "no optimiser": _set("optimizer", value=None),
    "an optimiser without state": _training(lambda state: state["optimizer"].pop("state")),
    "an optimiser of more parameters": _training(
        lambda state: state["optimizer"]["state"].update({9999: state["optimizer"]["state"][0]})
    ),
    "moments by name": _training(lambda state: state["optimizer"]["state"].update(a={})),
    "a missing moment": _training(lambda state: state["optimizer"]["state"][0].pop("exp_avg")),
    "a moment of another shape": _set(*MOMENT, "exp_avg", value=lambda: torch.zeros(3)),
    "a moment of whole numbers": _training(
        lambda state: state["optimizer"]["state"][0].update(
            exp_avg=torch.zeros(state["optimizer"]["state"][0]["exp_avg"].shape, dtype=torch.int64)
        )
    ),
    "a moment without end": _set(*MOMENT, "exp_avg", value=_stretched),
    "a moment of NaN": _training(lambda state: state["optimizer"]["state"][0]["exp_avg"].fill_(float("nan"))),
    "a moment of infinity": _training(lambda state: state["optimizer"]["state"][0]["exp_avg_sq"].fill_(float("inf"))),
    "a negative square": _training(lambda state: state["optimizer"]["state"][0]["exp_avg_sq"].fill_(-1)),
    "step -1": _set(*MOMENT, "step", value=lambda: torch.tensor(-1.0)),
    "step NaN": _set(*MOMENT, "step", value=lambda: torch.tensor(float("nan"))),
    "step as text": _set(*MOMENT, "step", value="3"),
    "a learning rate of NaN": _set("optimizer", "param_groups", 0, "lr", value=float("nan")),
    "a weight decay of 1e30": _set("optimizer", "param_groups", 0, "weight_decay", value=1e30),
    "ascent": _set("optimizer", "param_groups", 0, "maximize", value=True),
    "betas of NaN": _set("optimizer", "param_groups", 0, "betas", value=(float("nan"), 2.0)),
    "no groups": _set("optimizer", "param_groups", value=[]),
    "progress as text": _set("progress", value="far"),
    "unheard-of progress": _set("progress", "unheard_of", value=1),
    "progress without a step": _training(lambda state: state["progress"].pop("step")),
    "epoch -1": _set("progress", "epoch", value=-1),
    "epoch 1e400": _set("progress", "epoch", value=10**400),
    "epoch 0.5": _set("progress", "epoch", value=0.5),
    "epoch true": _set("progress", "epoch", value=True),
    "step None": _set("progress", "step", value=None),
    "batch 10**9": _set("progress", "batch", value=10**9),
    "best NaN": _set("progress", "best", value=float("nan")),
    "best as text": _set("progress", "best", value="0.9"),
    "history as text": _set("progress", "history", value="long"),
    "history of texts": _set("progress", "history", value=[{"sm": "good"}]),
    "no random states": _set(*GENERATORS, value=None),
    "Python's without words": _set(*GENERATORS, "python", 1, value=[]),
    "Python's beyond 32 bits": _set(*GENERATORS, "python", 1, value=[1 << 70] * 625),
    "Python's position 10**9": _set(*GENERATORS, "python", 1, 624, value=10**9),
    "numpy's position 10**9": _set(*GENERATORS, "numpy", 2, value=10**9),
    "numpy's position -1": _set(*GENERATORS, "numpy", 2, value=-1),
    "numpy's of 3 words": _set(*GENERATORS, "numpy", 1, value=lambda: torch.zeros(3, dtype=torch.int64)),
    "numpy's without end": _set(*GENERATORS, "numpy", 1, value=_stretched),
    "numpy's of another kind": _set(*GENERATORS, "numpy", 0, value="PCG64"),
    "torch's of 3 bytes": _set(*GENERATORS, "torch", value=lambda: torch.zeros(3, dtype=torch.uint8)),
    "torch's of zeros": _set(*GENERATORS, "torch", value=lambda: torch.zeros(5056, dtype=torch.uint8)),
    "torch's of floats": _set(*GENERATORS, "torch", value=lambda: torch.zeros(5056)),
    "torch's without end": _set(*GENERATORS, "torch", value=lambda: torch.zeros(1).byte().expand(1 << 40)),
}

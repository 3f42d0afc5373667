"""A file that ``torch.save`` wrote, looked at before it is unpickled.

``torch.load(weights_only=True)`` runs no code, but it unpacks whatever is packed, and may be told to make bytes of any
number.
"""

import pickletools
import zipfile
from pathlib import Path

MAX_PICKLE = 8 << 20  # bytes of what holds the tensors together; they lie beside it. Training SAM2-L takes 300 thousand
BEGIN = b"PK\x03\x04"
TENSORS_NEED = ("collections OrderedDict", "torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_parameter")


def check_archive(path: Path, *, only_tensors: bool = True) -> None:
    """See that unpickling a file takes no more memory than the file has bytes.

    Args:
        path: of the file.
        only_tensors: refuse names of anything but tensors and their containers.

    Raises:
        ValueError: it would, or it does.
        OSError, zipfile.BadZipFile: it can't be read, or is no such file.
    """
    with path.open("rb") as file:
        if file.read(len(BEGIN)) != BEGIN:  # else torch takes it for a file of before version 1.6, a bare pickle
            raise zipfile.BadZipFile("it is no archive of torch's")
    with zipfile.ZipFile(path) as archive:
        records = archive.infolist()
        names = [record.filename.lower() for record in records]  # torch finds them in any case of letters
        if len(set(names)) < len(names):
            raise ValueError("two of its parts have the same name")
        if sum(record.file_size for record in records) > path.stat().st_size:
            raise ValueError("it would unpack to more bytes than it has")
        for record in records:
            if not record.filename.lower().endswith(".pkl"):
                continue
            if record.file_size > MAX_PICKLE:
                raise ValueError(f"its pickle has {record.file_size:,} bytes, above the limit of {MAX_PICKLE:,}")
            for operation, argument, _ in pickletools.genops(archive.read(record)) if only_tensors else ():
                if operation.name == "GLOBAL" and not _belongs_to_tensors(str(argument)):
                    raise ValueError(f"it names {str(argument).replace(' ', '.')!r:.99}, where only tensors belong")


def _belongs_to_tensors(name: str) -> bool:
    return name in TENSORS_NEED or (name.startswith("torch ") and name.endswith("Storage"))

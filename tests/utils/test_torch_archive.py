"""Files that are unpickled: nothing slips by what looks at them first."""

import io
import pickle
import zipfile
from pathlib import Path

import pytest
import torch

from ipsam.utils.untrusted import check_archive


class Bomb:
    """Unpickled, it takes a gigabyte."""

    def __reduce__(self) -> tuple[type, tuple[int]]:
        return bytearray, (1 << 30,)


def saved(content: object) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def renamed(content: bytes, name: str) -> bytes:
    """The same archive, with its pickle under another name."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(file, "w") as new:
        for record in old.infolist():
            new.writestr(record.filename.replace("data.pkl", name), old.read(record))
    return file.getvalue()


def test_a_file_of_tensors_passes(tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_bytes(saved({"a": torch.zeros(3)}))
    check_archive(tmp_path / "a.pt")


@pytest.mark.parametrize("name", ["data.pkl", "data.PKL", "Data.Pkl"])
def test_names_are_looked_at_in_any_case_of_letters(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.pt").write_bytes(renamed(saved({"a": Bomb()}), name))
    with pytest.raises(ValueError, match=r"it names '.*bytearray', where only tensors belong"):
        check_archive(tmp_path / "a.pt")


def test_two_parts_of_one_name_are_refused(tmp_path: Path) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a/data.pkl", pickle.dumps({}))
        archive.writestr("a/DATA.pkl", pickle.dumps({}))
    (tmp_path / "a.pt").write_bytes(file.getvalue())
    with pytest.raises(ValueError, match="two of its records have the same name"):
        check_archive(tmp_path / "a.pt")


def test_a_bare_pickle_with_an_archive_behind_it_is_refused(tmp_path: Path) -> None:
    """Python's zipfile finds the archive, torch takes the pickle."""
    (tmp_path / "a.pt").write_bytes(pickle.dumps(0x1950A86A20F9469CFC6C, 2) + saved({"a": torch.zeros(1)}))
    with pytest.raises(zipfile.BadZipFile, match="it is not a torch archive"):
        check_archive(tmp_path / "a.pt")


def test_what_would_unpack_to_more_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", bytes(1_000_000))
    with pytest.raises(ValueError, match="it would unpack to more bytes than it has"):
        check_archive(tmp_path / "a.pt")

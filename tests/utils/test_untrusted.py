"""Untrusted files: plain YAML and JSON of bounded size, and torch archives that are safe to unpickle."""

import io
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from support.hostile_states import Payload, archived, rebuilt, zipped

from ipsam.utils.untrusted import bounded_text, check_archive, read_plain_json, read_plain_yaml


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: &x [1]\nc: *x\n", "is not a plain YAML configuration: it holds an alias"),
        ("a: 1\n\t- b", r"is not a plain YAML configuration: found character '\\t' .* in line 2"),
        ("x" * 70_000, "has 70,000 bytes, above the limit of 65,536"),
        ("a: " + "[" * 40 + "]" * 40, "has more than 32 levels, which no run's configuration has"),
        ("1: 1", "is not a plain configuration: a key of type int at its top"),
        ("a: 2001-05-09", "is not a plain configuration: a value of type date at a"),
        ("a: .nan", "holds NaN or a whole number of more than 64 bits at a"),
        ("a: " + "x" * 5000, "holds a text of 5,000 characters at a, above the limit of 4,096"),
        ("a: ${oc.env:HOME}", r"holds interpolations \(at a\); a run saves its configuration resolved"),
        ("a: ???", r"leaves a value open \(at a\); a run saves its configuration complete"),
    ],
)
def test_anything_but_plain_yaml_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(ValueError, match=rf"a\.yaml {message}"):
        read_plain_yaml(tmp_path / "a.yaml")


def test_broken_json_and_large_texts_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(ValueError, match=r"a\.json is not a plain JSON configuration: "):
        read_plain_json(tmp_path / "a.json")
    with pytest.raises(ValueError, match=r"a\.json has 1 bytes, above the limit of 0"):
        bounded_text(tmp_path / "a.json", 0)


def renamed(content: bytes, name: str) -> bytes:
    """Rename the pickle of an archive."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(file, "w") as new:
        for record in old.infolist():
            new.writestr(record.filename.replace("data.pkl", name), old.read(record))
    return file.getvalue()


def with_pickle(content: bytes) -> bytes:
    """Make an archive with this pickle."""
    return rebuilt(archived({}), lambda name, old: content if name.endswith(".pkl") else old)


def compressed() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", bytes(1_000_000))
    return file.getvalue()


BOMB = archived({"a": Payload(bytearray, 1 << 30)})  # takes a gigabyte when unpickled


@pytest.mark.parametrize(
    ("content", "message"),
    [
        *(
            (renamed(BOMB, name), r"it names '.*bytearray', where only tensors belong")
            for name in ("data.pkl", "data.PKL", "Data.Pkl")
        ),
        (zipped(**dict.fromkeys(("a/data.pkl", "a/DATA.pkl"), pickle.dumps({}))), "two of its records have the same"),
        (compressed(), "it would unpack to more bytes than it has"),
        # Python's zipfile would find the archive, torch the pickle before it.
        (pickle.dumps(0x1950A86A20F9469CFC6C, 2) + archived({"a": torch.zeros(1)}), "it is not a torch archive"),
    ],
    ids=["data.pkl", "data.PKL", "Data.Pkl", "one name twice", "compressed", "a pickle before the archive"],
)
def test_hostile_archives_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.pt").write_bytes(archived({"a": torch.zeros(3)}))
    check_archive(tmp_path / "a.pt")
    (tmp_path / "a.pt").write_bytes(content)
    with pytest.raises((ValueError, zipfile.BadZipFile), match=message):
        check_archive(tmp_path / "a.pt")


SET, ORDERED, ENCODE = (
    b"c" + name + b"\nq\0" for name in (b"__builtin__\nset", b"collections\nOrderedDict", b"_codecs\nencode")
)
CALLS = 1000
COPIES = {  # a function, and its argument that every call copies
    "set": SET + b"](" + b"K\1" * 5000 + b"eq\1](" + b"h\0h\1\x85R" * CALLS + b"e",
    "dictionary": ORDERED + b"](" + b"K\1K\2\x86" * 5000 + b"eq\1](" + b"h\0h\1\x85R" * CALLS + b"e",
    "text": ENCODE + b"X\x10\x27\0\0" + b"a" * 10_000 + b"q\1](" + b"h\0h\1X\5\0\0\0utf-8\x86R" * CALLS + b"e",
    "state": b"cmine\nConv\nq\0}(" + b"K\1N" * 5000 + b"uq\1](" + b"h\0)\x81h\1b" * CALLS + b"e",
}


@pytest.mark.parametrize("kind", COPIES)
def test_values_copied_again_and_again_are_refused(tmp_path: Path, kind: str) -> None:
    """A megabyte would become gigabytes, of whole modules as well as of tensors."""
    (tmp_path / "a.pt").write_bytes(with_pickle(b"\x80\2" + COPIES[kind] + b"."))
    for only_tensors in (True, False):
        with pytest.raises(ValueError, match="its pickle copies the same values again and again"):
            check_archive(tmp_path / "a.pt", only_tensors=only_tensors)


@pytest.mark.parametrize("name", ["__builtin__ bytearray", "builtins bytearray", "torch Tensor", "torch FloatTensor"])
def test_allocation_by_number_is_refused_among_modules_too(tmp_path: Path, name: str) -> None:
    """Torch's restricted unpickler would make 20 GB of these hundred bytes."""
    call = b"c" + name.replace(" ", "\n").encode() + b"\n\x8a\5\0\0\0\0\5\x85R"
    (tmp_path / "a.pt").write_bytes(with_pickle(b"\x80\2" + call + b"."))
    with pytest.raises(ValueError, match=f"it names '{name.replace(' ', '.')}', where only modules belong"):
        check_archive(tmp_path / "a.pt", only_tensors=False)

"""The data doctor's findings; errors are exactly what stops a run."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.doctor_files import (
    STEMS,
    Damage,
    all_masks,
    case,
    check,
    drop,
    examined,
    found,
    mask,
    message,
    nothing,
    own_data,
    picture,
    png_header,
    put,
    put_mode,
    save,
    shorten,
    stops,
    together,
    write,
    write_set,
)  # fmt: skip

SMALL = mask((30, 30))
MISSING = {"name": "own", "images": "own/img"}
INSIDE = "another file type inside"
BROKEN_EXIF = b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12"
PAGES = {"save_all": True, "append_images": [Image.fromarray(mask())]}
FLOATS = put_mode("img/g.tif", np.ones((40, 50), np.float32), "F")


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


@pytest.mark.parametrize(
    ("damage", "options", "expected"),
    [
        case("nothing", nothing()),
        case("no mask", drop("gt/a.png"), error="image without mask"),
        case("no image", drop("img/a.jpg"), error="mask without image"),
        case("no mask, left out", drop("gt/a.png"), remark="left out by exclude", exclude=["own/a"]),
        case("two images", put("img/a.png", picture(99)), error="two images of one stem"),
        case("a folder named like an image", lambda own: (own / "img/z.jpg").mkdir()),
        case("a link to nothing", lambda own: (own / "gt/z.png").symlink_to("none")),
        case("another size", put("gt/a.png", SMALL), error="size mismatch"),
        case("resized", put("gt/a.png", SMALL), remark="size mismatch", size_mismatch="resize"),
        case("left out", put("gt/a.png", SMALL), remark="size mismatch", size_mismatch="exclude"),
        case("all", all_masks(SMALL), remark="size mismatch", error="no pair left", size_mismatch="exclude"),
        case("cut off and left out", together(put("gt/a.png", SMALL), shorten("img/a.jpg", 0.9)),
             remark="size mismatch", size_mismatch="exclude"),
        case("no masks", lambda own: (own / "gt").rename(own / "masks"), error="set not found"),
        case("no images", drop(*(f"img/{stem}.jpg" for stem in STEMS)), error="unusable set"),
        case("an unprintable name", lambda own: os.rename(own / "img/a.jpg", os.fsencode(own / "img") + b"/\xe9.jpg"),
             error="unusable set"),
        case("unknown stem left out", nothing(), error="unknown in exclude", exclude=["own/train/typo"]),
        case("everything left out", nothing(), remark="left out by exclude", error="no image left",
             exclude=[f"own/{stem}" for stem in STEMS]),
        case("nothing left to train on", nothing(), error="nothing to train on", val_fraction=0.99),
        case("no such set", nothing(), error="unusable set", train=["COD11K"]),
        case("not there", nothing(), error="set not found", train=["CAMO"]),
        case("half a mapping", nothing(), error="unusable set", train=[MISSING]),
        case("no list", nothing(), error="set not found", train=[MISSING | {"masks": "own/gt", "list": "l.txt"}]),
        case("nothing to train on at all", nothing(), train=[]),
        case("synthetic", nothing(), remark="synthetic", train=["synthetic"], synthetic={"num_train": 3}),
        case("an empty image", write("img/a.jpg", b""), error="unreadable file"),
        case("an image cut off", shorten("img/a.jpg", 0.9), error="unreadable file"),
        case("text", write("img/a.jpg", b"<html>404</html>"), error="unreadable file"),
        case("a bomb", write("img/a.jpg", png_header(60_000, 60_000)), error="unreadable file"),
        case("large", write("gt/a.png", png_header(9_000, 9_000)), error="unreadable file", size_mismatch="resize",
             remark="size mismatch"),
        case("floats", together(FLOATS, put("gt/g.png", mask())), error="unreadable file"),
        case("labels", put("gt/a.png", mask() // 255), error="values of no mask"),
        case("a mask of 16 bits", put("gt/a.png", mask().astype(np.uint16) * 257), error="values of no mask"),
        case("not binary", put("gt/a.png", mask() // 3 * 2), warning="masks not binary"),
        case("no object", put("gt/a.png", mask() * 0), warning="empty masks"),
        case("inverted", all_masks(255 - mask()), warning="inverted masks"),
        case("one inverted", put("gt/a.png", 255 - mask()), remark="inverted masks"),
        case("PNG named JPEG", put("img/a.jpg", picture(99), ".png"), remark=INSIDE),
        case("a format that is not read", put_mode("gt/z.gif", mask(), "L"), warning="pictures not read"),
        case("JPEG of another ending", lambda own: (own / "img/a.jpg").rename(own / "img/a.jfif")),
        case("EXIF", put_mode("img/a.jpg", picture(99), "RGB", exif=turned(6)), remark="EXIF orientation"),
        case("EXIF in a PNG", put_mode("gt/a.png", mask(), "L", exif=turned(3)), remark="EXIF orientation",
             warning="EXIF orientations differ"),
        case("EXIF of both", together(put_mode("gt/a.png", mask(), "L", exif=turned(3)),
                                      put_mode("img/a.jpg", picture(99), "RGB", exif=turned(3))),
             remark="EXIF orientation"),
        case("a square turned", together(put_mode("img/a.jpg", picture(9, (40, 40)), "RGB", exif=turned(6)),
                                         put("gt/a.png", mask((40, 40)))),
             remark="EXIF orientation", warning="EXIF orientations differ"),
        case("a mask of the upright image", together(put_mode("img/a.jpg", picture(9), "RGB", exif=turned(6)),
                                                     put("gt/a.png", mask((50, 40)))),
             remark="EXIF orientation", error="torn by EXIF orientation"),
        case("a TIFF", put_mode("img/a.jpg", picture(99), "RGB", format="TIFF", tiffinfo={0x0112: 3}), remark=INSIDE,
             warning="TIFF orientation"),
        case("CMYK", put_mode("img/a.jpg", picture(99), "CMYK"), remark="CMYK picture"),
        case("alpha", put_mode("gt/a.png", mask(), "RGBA"), remark="alpha picture"),
        case("object in alpha", put("gt/a.png", np.dstack([mask() * 0] * 3 + [mask()])), error="values of no mask"),
        case("mask of pages", put_mode("gt/a.png", mask(), "L", **PAGES), error="unreadable file"),
        case("image of pages", together(drop("img/a.jpg"), put_mode("img/a.tif", picture(9), "RGB", **PAGES)),
             remark="multi-page picture"),
        case("16-bit PNG", together(drop("img/a.jpg"), put("img/a.png", picture(9).astype(np.uint16) * 257)),
             remark="16-bit picture"),
        case("broken metadata", put_mode("img/a.jpg", picture(9), "RGB", exif=BROKEN_EXIF)),
        case("a pixel", together(put("img/a.jpg", picture(9, (1, 1))), put("gt/a.png", mask((1, 1)) + 255)),
             warning="full masks"),
    ],
)  # fmt: skip
def test_errors_are_exactly_what_stops_a_run(
    tmp_path: Path, damage: Damage, options: dict[str, Any], expected: dict[str, str]
) -> None:
    check(tmp_path, damage, options, expected)


def test_errors_in_test_and_val_sets_stop_a_run(tmp_path: Path) -> None:
    write_set(tmp_path, "own", seed=0)
    spec = write_set(tmp_path, "other", seed=50)
    (tmp_path / "other/gt/c.png").write_bytes(b"")
    for options in ({}, {"val": [spec], "test": []}):
        data = own_data(tmp_path, **options)
        diagnosis = examined(data)
        assert [one.label for one in diagnosis.sets] == ["own/train", f"other/{'val' if options else 'test'}"]
        assert found(diagnosis, diagnosis.sets[1].label) == {"unreadable file": "error"}
        assert stops(data)


@pytest.mark.parametrize("kind", ["image", "mask"])
def test_errors_stop_a_run_on_randomly_damaged_files(tmp_path: Path, kind: str) -> None:
    """One file of each set is truncated or has flipped bits."""
    rng = np.random.default_rng(kind == "mask")
    path = tmp_path / ("own/img/a.jpg" if kind == "image" else "own/gt/a.png")
    outcomes = []
    for number in range(60):
        spec = write_set(tmp_path, "own", seed=0, stems="ab")
        content = bytearray(path.read_bytes())
        if number % 3:
            for position in rng.integers(0, len(content), rng.integers(1, 6)):
                content[position] ^= 1 << rng.integers(8)
        else:
            del content[rng.integers(len(content)) :]
        path.write_bytes(content)
        data = own_data(tmp_path, train=[spec], test=[])
        outcomes.append(examined(data).would_stop)
        assert outcomes[-1] == stops(data), number
    assert sum(outcomes) > 10


def test_messages_name_files_and_the_way_out(tmp_path: Path) -> None:
    write_set(tmp_path, "own", seed=0, stems=[f"{number}" for number in range(9)])
    own = tmp_path / "own"
    for number in range(7):
        save(own / f"gt/{number}.png", mask() // 255 * (number + 1))
    (own / "img/7.jpg").write_bytes(b"")
    (own / "img/8.jpg").write_text("text")
    diagnosis = examined(own_data(tmp_path, test=[]))
    refused, broken = message(diagnosis, "values of no mask"), message(diagnosis, "unreadable file")
    assert refused.startswith(f"own/train: 7 of 9 masks hold other values than a mask may: {own}/gt/0.png: the mask's")
    assert refused.endswith("own/train/5,own/train/6]")
    assert " and 2 more; or leave them out with exclude=[own/train/0," in refused
    assert f"own/train: 2 of 9 pairs can't be read: {own}/img/7.jpg: the file is empty; fetch it again" in broken
    assert f"{own}/img/8.jpg: the image header can't be read (none of BMP, JPEG" in broken
    assert broken.endswith("or leave them out with exclude=[own/train/7,own/train/8]")
    (finding,) = (f for f in diagnosis.sets[0].findings if f.kind == "values of no mask")
    assert finding.files == tuple(own / f"gt/{number}.png" for number in range(7))  # all of them


def test_mask_statistics(tmp_path: Path) -> None:
    write_set(tmp_path, "own", seed=0)
    own = tmp_path / "own"
    soft = mask()
    soft[:2, :10] = np.arange(11, 31).reshape(2, 10)
    soft[2:4, :10] = 77
    for stem, pixels in zip("abcd", (soft, mask() // 255 * 254, mask() * 0, mask() * 0 + 255), strict=True):
        save(own / f"gt/{stem}.png", pixels)
    diagnosis = examined(own_data(tmp_path, test=[]))
    text = message(diagnosis, "masks not binary")
    assert "own/train: 2 of 6 masks have values other than 0 and 255 (" in text
    assert "and 16 more), at most in 6.50% of the pixels (b.png): a.png, b.png; what is above 128" in text
    assert "1 of 6 masks have no foreground: c.png; see that this is meant" in message(diagnosis, "empty masks")
    assert message(diagnosis, "full masks").endswith("leave them out with exclude=[own/train/d]")
    assert sorted(diagnosis.sets[0].shares) == [0, 0.065, 0.065, 0.065, 0.065, 1]
    assert diagnosis.sets[0].sizes == [(40, 50)] * 6


def test_tiff_orientation_is_applied(tmp_path: Path) -> None:
    spec = write_set(tmp_path, "own", seed=0)
    (tmp_path / "own/img/a.jpg").unlink()
    put_mode("img/a.tif", picture(0), "RGB", tiffinfo={0x0112: 6})(tmp_path / "own")
    save(tmp_path / "own/gt/a.png", mask((50, 40)))
    data = own_data(tmp_path, train=[spec], test=[])
    diagnosis = examined(data)
    assert found(diagnosis) == {"TIFF orientation": "warning"}
    assert "which are turned when read, unlike other files: a.tif 6; see that" in message(diagnosis, "TIFF orientation")
    assert data.train_and_val(0)[0].source.read(0, 0).image.shape == (50, 40, 3)


def test_unexpected_error_concerns_one_file_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(image: np.ndarray) -> None:
        raise ZeroDivisionError("what?")

    write_set(tmp_path, "own", seed=0, stems=STEMS[:2])
    monkeypatch.setattr("ipsam.tools.prepare.doctor.examine.image_hash", fail)
    diagnosis = examined(own_data(tmp_path, test=[]))
    assert "own/img/b.jpg: can't be read (ZeroDivisionError: what?); fetch it again" in message(
        diagnosis, "unreadable file"
    )
    assert len(diagnosis.sets[0].shares) == 2

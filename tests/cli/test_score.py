"""The command score: layouts of maps, output and files."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pyarrow import parquet
from support.builders import REAL_DATA
from support.saved_maps import failed, mask_of, quoted, read_metrics, row, save, write_maps, write_masks

from ipsam.engine.metrics import METRICS, Protocol, measure
from ipsam.utils.files import read_csv

NAMES = ("plain", "two words", 'it\'s "quoted"', "<script>alert(1)<", "模型_été", "$x$ & _y")
KEYS = ("num_images", *METRICS)


def test_one_method_on_one_dataset(script: Callable[..., Any]) -> None:
    write_masks("CAMO/GT")
    write_maps("One")
    done = script("score", "maps=One", "masks=CAMO", "out=out", "num_workers=2")
    assert done.status == 0
    content = read_metrics("out/metrics.json")
    assert list(content) == ["protocol", "methods", "datasets"]
    assert content["protocol"] == Protocol().describe()
    assert content["methods"] == {"One": content["datasets"]}  # the key of 0.1.0, in the layout without methods
    assert list(content["datasets"]) == ["CAMO"]
    assert tuple(content["datasets"]["CAMO"]) == KEYS
    assert content["datasets"]["CAMO"]["num_images"] == 3
    with Path("out/per_image.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["method", "dataset", "name", *METRICS]
    assert [one["name"] for one in rows] == ["a", "b", "c"]
    expected = measure(cv2.imread("One/b.png", cv2.IMREAD_UNCHANGED), mask_of(1), Protocol()).scores
    assert {metric: float(rows[1][metric]) for metric in METRICS} == expected
    written = {path.name for path in Path("out").iterdir()}
    curves = {"CAMO_pr.svg", "CAMO_f.svg", "CAMO_em.svg"}
    assert written == {"metrics.json", "per_image.csv", "curves.csv", "report.html"} | curves
    with Path("out/curves.csv").open(newline="") as file:
        points = list(csv.DictReader(file))
    assert [(one["method"], one["dataset"], one["threshold"]) for one in points] == [
        ("One", "CAMO", str(threshold)) for threshold in range(255, -1, -1)
    ]
    for curve, metric in {"em": "em", "f": "f", "dice": "mdice", "iou": "miou"}.items():
        mean = sum(float(one[curve]) for one in points) / 256
        assert mean == pytest.approx(content["datasets"]["CAMO"][metric], abs=1e-12)
    assert "out/report.html" in done.out


def test_arrays_and_coco_results(score: Callable[..., Any]) -> None:
    """Arrays have the scores of the pictures that they are copies of."""
    write_masks("CAMO", ("07", "08"))
    write_maps("maps/One/CAMO", ("07", "08"))
    Path("maps/Arrays/CAMO").mkdir(parents=True)
    np.save("maps/Arrays/CAMO/07.npy", cv2.imread("maps/One/CAMO/07.png", cv2.IMREAD_UNCHANGED))
    np.savez("maps/Arrays/CAMO/08.npz", cv2.imread("maps/One/CAMO/08.png", cv2.IMREAD_UNCHANGED) / 255)
    assert score("maps=maps", "masks=CAMO", "out=out", "cases=0", "parquet=true").status == 0
    scores = read_metrics("out/metrics.json")["methods"]
    assert scores["Arrays"] == scores["One"]
    table = parquet.read_table("out/per_image.parquet").to_pylist()
    rows = read_csv(Path("out/per_image.csv").read_text())
    assert [{name: str(value) for name, value in one.items()} for one in table] == list(rows)

    boxes = {7: [20, 10, 40, 10, 40, 30, 20, 30], 8: [20, 11, 41, 11, 41, 30, 20, 30]}
    results = [{"image_id": key, "category_id": 1, "score": 0.9, "segmentation": [box]} for key, box in boxes.items()]
    Path("coco").mkdir()
    for name in ("Mine", "Other"):
        Path("coco", f"{name}.json").write_text(json.dumps(results))
    done = score("maps=coco", "masks=CAMO")
    rows = [[cell.strip() for cell in line.split("|")[1:5]] for line in done.out.splitlines() if "| CAMO" in line]
    assert rows[:2] == [["CAMO", name, "2", "0.0000"] for name in ("Mine", "Other")]


def test_several_methods_on_several_datasets(score: Callable[..., Any]) -> None:
    write_masks("data/CAMO/GT")
    write_masks("data/Kvasir/masks")
    write_maps("maps/One/CAMO")
    write_maps("maps/One/Kvasir-SEG")
    write_maps("maps/Two/CAMO", blur=5)
    done = score("maps=maps", "masks=data", "out=out")
    assert done.status == 0
    assert "Two: no maps of Kvasir" in done.out
    tables = [line.split("|")[1:3] for line in done.out.splitlines() if line.startswith("| ")]
    table = tables[1:4]
    assert [[cell.strip() for cell in cells] for cells in table] == [
        ["CAMO", "One"],
        ["CAMO", "Two"],
        ["Kvasir", "One"],
    ]
    content = read_metrics("out/metrics.json")
    assert list(content) == ["protocol", "methods"]
    assert {name: list(datasets) for name, datasets in content["methods"].items()} == {
        "One": ["CAMO", "Kvasir"],
        "Two": ["CAMO"],
    }
    assert tuple(content["methods"]["Two"]["CAMO"]) == KEYS
    assert content["methods"]["One"]["CAMO"] == content["methods"]["One"]["Kvasir"]
    assert content["methods"]["One"]["CAMO"]["sm"] > content["methods"]["Two"]["CAMO"]["sm"]
    with Path("out/per_image.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["method", "dataset", "name", *METRICS]
    assert len(rows) == 9
    assert len(list(Path("out").glob("*_pr.svg"))) == 2
    compared = [line for line in done.out.splitlines() if line.startswith("| CAMO ") and "] |" in line]
    assert [[cell.strip() for cell in line.split("|")[1:5]] for line in compared] == [
        ["CAMO", "Two", "One", metric] for metric in ("MAE", "Fw", "Sm")
    ]
    with Path("out/differences.csv").open(newline="") as file:
        differences = {one["metric"]: one for one in csv.DictReader(file)}
    means = content["methods"]
    for metric in ("sm", "mae"):
        expected = means["Two"]["CAMO"][metric] - means["One"]["CAMO"][metric]
        assert float(differences[metric]["difference"]) == pytest.approx(expected, abs=1e-12)


def test_groups_of_images_are_scored_and_a_method_chosen_to_compare_with(score: Callable[..., Any]) -> None:
    write_masks("COD10K/GT", ("COD10K-CAM-1-Aquatic-1-BatFish-2", "COD10K-CAM-2-Terrestrial-21-Ant-3"))
    for method in ("One", "Two"):
        write_maps(f"maps/{method}", ("COD10K-CAM-1-Aquatic-1-BatFish-2", "COD10K-CAM-2-Terrestrial-21-Ant-3"))
    given = ("maps=maps", "masks=COD10K")
    assert "against=Three: no such method; name one of One, Two, or" in failed(score(*given, "against=Three"))
    assert "against=CAMO: One is the only method" in failed(score("maps=maps/One", "masks=COD10K", "against=CAMO"))
    assert "images=maps is for the report; set out=FOLDER" in failed(score("maps=maps", "masks=data", "images=maps"))
    assert "parquet=true writes a file; set out=FOLDER" in failed(score("maps=maps", "masks=data", "parquet=true"))
    assert "breakdown=true writes files and a part of the report; set out=FOLDER" in failed(
        score(*given, "breakdown=true")
    )
    assert score(*given, "against=Two", "breakdown=true", "out=out").status == 0
    tables = {}
    for name in ("differences", "breakdown", "traits"):
        with Path(f"out/{name}.csv").open(newline="") as file:
            tables[name] = list(csv.DictReader(file))
    assert {(one["method"], one["reference"], one["p"]) for one in tables["differences"]} == {("One", "Two", "1.0")}
    ants = [one for one in tables["breakdown"] if one["group"] == "Terrestrial: Ant"]
    assert [(one["method"], one["by"], one["images"]) for one in ants] == [
        (method, "subclass", "1") for method in ("One", "Two")
    ]
    assert [(one["superclass"], one["objects"], one["contrast"]) for one in tables["traits"]] == [
        ("Aquatic", "1", ""),
        ("Terrestrial", "1", ""),
    ]
    assert "Where does it fail?" in Path("out/report.html").read_text(encoding="utf-8")


def test_odd_names_are_kept(score: Callable[..., Any]) -> None:
    dataset, methods = NAMES[4], NAMES[2:4]
    write_masks(f"my data/{dataset}/GT", NAMES)
    write_masks(f"my data/{dataset}/Imgs", NAMES)
    for method in methods:
        write_maps(f"my 'maps', \"all\"/{method}/{dataset}", NAMES)
    maps = quoted("my 'maps', \"all\"")
    assert score(f"maps={maps}", "masks=my data", f"out={quoted('out/报告 (1)')}", "cases=1").status == 0
    folder = Path("out/报告 (1)")
    scores = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["methods"]
    assert {method: list(scores[method]) for method in scores} == {method: [dataset] for method in methods}
    with (folder / "per_image.csv").open(newline="", encoding="utf-8") as file:
        assert {one["name"] for one in csv.DictReader(file)} == set(NAMES)
    report = (folder / "report.html").read_text(encoding="utf-8")
    assert report.count("<script") == 1
    assert "&lt;script&gt;alert(1)&lt;" in report
    assert [path.name for path in folder.glob("*_f.svg")] == [f"{dataset}_f.svg"]


def test_lists_of_stems_belong_to_their_datasets(score: Callable[..., Any]) -> None:
    write_masks("data/CAMO/GT")
    write_masks("data/NC4K/GT")
    write_maps("maps/CAMO", ("a", "b"))
    write_maps("maps/NC4K")
    Path("list.txt").write_text("b\na\n")
    given = ("maps=maps", "masks=data")
    for stems, message in {
        "list.txt": "stems=list.txt is one list, but there are the datasets CAMO, NC4K; say which it is for",
        "{ETIS: list.txt}": "stems has a list for ETIS; the datasets are CAMO, NC4K: correct the name, or leave it out",
        "{CAMO: list.txt, camo: list.txt}": "stems has two lists for CAMO",
    }.items():
        assert message in failed(score(*given, f"stems={stems}"))
    done = score(*given, "stems={camo: list.txt}")
    assert [row(done, name)[2] for name in ("CAMO", "NC4K")] == ["2 of 3", "3"]
    assert "2 of 3 masks are in list.txt and scored" in done.out


@pytest.mark.data
def test_pranets_maps_score_as_its_paper_says(score: Callable[..., Any]) -> None:
    """PraNet (MICCAI 2020), table 1, CVC-ClinicDB, from its published maps of its 62 test images."""
    maps = REAL_DATA / "polyp" / "PredictionMaps" / "PraNet" / "CVC-ClinicDB"
    masks = REAL_DATA / "polyp" / "TestDataset" / "CVC-ClinicDB" / "masks"
    if not maps.is_dir() or not masks.is_dir():
        pytest.skip(f"no PraNet maps in {REAL_DATA}: set IPSAM_TEST_DATA")
    given = [f"maps={quoted(str(maps))}", f"masks={quoted(str(masks))}"]
    assert "CVC-ClinicDB: 550 of 612 masks have no map of the same stem" in failed(score(*given))
    Path("list.txt").write_text("\n".join(path.stem for path in maps.iterdir()))
    excluded, listed = score(*given, "missing=exclude", "out=out"), score(*given, "stems=list.txt")
    assert row(excluded, "CVC-ClinicDB") == row(listed, "CVC-ClinicDB")
    assert row(listed, "CVC-ClinicDB")[:3] == ["CVC-ClinicDB", "PraNet", "62 of 612"]
    scores = read_metrics("out/metrics.json")["datasets"]["CVC-ClinicDB"]
    printed = {"mdice": 0.899, "miou": 0.849, "fw": 0.896, "sm": 0.936, "em_max": 0.979, "mae": 0.009}
    assert {name: round(scores[name], 3) for name in printed} == printed


def test_every_file_says_what_was_left_out(score: Callable[..., Any]) -> None:
    write_masks("CAMO")
    write_maps("One", ("a", "b", "z"))
    message = failed(score("maps=One", "masks=CAMO", "out=out"))
    assert "CAMO: 1 of 3 masks have no map of the same stem in One: c; add the missing maps" in message
    done = score("maps=One", "masks=CAMO", "missing=exclude", "out=out", "parquet=true")
    assert row(done, "CAMO")[2] == "2 of 3"
    reasons = parquet.read_table("out/per_image.parquet").column("left_out").to_pylist()
    assert reasons == [None, None, "without a map (missing=exclude)"]
    note = "CAMO: only 2 of 3 images are scored, 1 without a map (missing=exclude): c"
    assert f"\n{note}\n" in done.out
    assert "1 maps have no mask and are not scored: z" in done.out
    content = read_metrics("out/metrics.json")
    assert [content["datasets"]["CAMO"][key] for key in ("num_images", "num_left_out")] == [2, 1]
    assert content["left_out"] == {"One": {"CAMO": {"without a map (missing=exclude)": ["c"]}}}
    with Path("out/per_image.csv").open(newline="") as file:
        rows = {one["name"]: one for one in csv.DictReader(file)}
    assert rows["c"]["left_out"] == "without a map (missing=exclude)"
    assert [rows["a"]["left_out"], rows["c"]["sm"]] == ["", ""]
    report = Path("out/report.html").read_text()
    assert note in report
    assert ">2 of 3</td>" in report

    write_maps("maps/One", ("a", "b"))
    write_maps("maps/Two")
    Path("list.txt").write_text("a\nc\n")
    done = score("maps=maps", "masks=CAMO", "stems=list.txt", "missing=exclude")
    assert (
        "One, CAMO: only 1 of 3 images are scored, 1 without a map (missing=exclude): c; 1 not in the list" in done.out
    )
    assert "Two, CAMO: only 2 of 3 images are scored, 1 not in the list (stems=list.txt): b" in done.out


def test_masks_of_few_pixels_are_told(score: Callable[..., Any]) -> None:
    """By the E-measure's definition; that of a single pixel is bounded."""
    for folder in ("One", "CAMO"):
        save(Path(folder, "a.png"), np.full((1, 1), 255, np.uint8))
        save(Path(folder, "b.png"), np.array([[255, 0]], np.uint8))
    done = score("maps=One", "masks=CAMO", "out=out")
    assert (
        "CAMO: E-measure above 1 (by its definition, a perfect map of n pixels has n / (n - 1)) in 1 of 2" in done.out
    )
    content = read_metrics("out/metrics.json")
    assert content["datasets"]["CAMO"]["em_max"] == pytest.approx(1.5)
    assert list(content["remarks"]["One"]["CAMO"].values()) == [1]
    assert "E-measure above 1" in Path("out/report.html").read_text()


def test_broken_map_is_named_by_a_worker_process(script: Callable[..., Any]) -> None:
    write_masks("CAMO")
    write_maps("One")
    Path("One/b.png").write_bytes(Path("One/b.png").read_bytes()[:-40])
    assert "error: One/b.png: broken, or no image" in failed(script("score", "maps=One", "masks=CAMO"))


def test_options_reach_the_scoring(score: Callable[..., Any]) -> None:
    """Inverted masks of labels 0 and 1 by a threshold of their own; maps of another size; a report without examples."""
    write_maps("One")
    for number, stem in enumerate("abc"):
        save(Path(f"CAMO/{stem}.png"), 1 - mask_of(number) // 255)
    save(Path("One/b.png"), cv2.resize(cv2.imread("One/b.png", cv2.IMREAD_UNCHANGED), (32, 24)))
    given = ("maps=One", "masks=CAMO", "protocol={gt_threshold: 0}")
    assert "1 of 3 maps differ from their mask in size (height x width): b.png 24x32" in failed(score(*given))
    done = score(*given, "resize=true")
    assert "1 of 3 maps are resized to their mask's size" in done.out
    assert "protocol gt_threshold=0" in done.out
    assert "CAMO: the masks look inverted" in done.out
    given = (
        "maps=One",
        "masks=CAMO",
        "images=One",
        "protocol={size: 32, gt_threshold: 0}",
        "metrics=[hce,mae,biou_50]",
    )
    done = score(*given, "cases=0", "out=out")
    assert "resized" not in done.out
    report = Path("out/report.html").read_text()
    assert "Best and worst" not in report
    assert "HCE" in report
    assert "BIoU .5 |" in done.out
    content = read_metrics("out/metrics.json")
    assert content["protocol"]["hce"].startswith("human correction effort")
    rows = list(read_csv(Path("out/per_image.csv").read_text()))
    assert list(rows[0])[-2:] == list(content["datasets"]["CAMO"])[-2:] == ["biou_50", "hce"]
    assert content["datasets"]["CAMO"]["hce"] == pytest.approx(np.mean([float(one["hce"]) for one in rows]))

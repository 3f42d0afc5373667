"""Tables by layouts: the paper's own to the byte, and those of one's own."""

from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.paper_runs import SIZES, scores

from ipsam.data.benchmarks import benchmark
from ipsam.tools.tables import layout as room
from ipsam.tools.tables.fill import fill_layout, fill_paper
from ipsam.tools.tables.layout import Layout
from ipsam.tools.tables.printed import Reference, paper
from ipsam.tools.tables.run_scores import RunScores
from ipsam.tools.tables.score_files import protocol_of, rules_of
from ipsam.tools.tables.sheet import Sheet, to_markdown
from ipsam.utils.files import as_csv

NUM_IMAGES = {benchmark(name).name: number for name, number in SIZES.items()} | {"CVC-ClinicDB": 612}

# SHA-256 of Markdown and CSV, from the code that had the paper's tables built in, and named a column
# of the CSV paper. A change of them changes the tables.
DIGESTS = {
    "table1": ("ec63d2ee1ff3a6a5", "841edd24917bf985"),
    "table2": ("0b1df5bc13d65011", "2bdfd81e5cbd311b"),
    "table3": ("0d37704975414d17", "9efe54cdc967925b"),
    "table4": ("b7be5abf52db038d", "db4d8e3ccccb1964"),
}


def paper_results() -> list[RunScores]:
    """Return up to three seeds for each row of the paper, some with counts and remarks, and a method's maps."""
    found = []
    rows = [(number, layout, row) for number, layout in paper().items() for row in layout.rows]
    for n, (number, layout, row) in enumerate(rows):
        for seed in range(n % 4):
            of = {name: scores((n * 37 + seed * 11) % 97 / 100, NUM_IMAGES[name]) for name in layout.datasets}
            found.append(
                RunScores(
                    *(f"runs/{n:02d}/{seed}", f"experiment{n}", seed, of, (Reference(number, row.label),), {}),
                    remarks=("other settings",) if n % 5 == 0 else (),
                    param=200 + n / 7 if n % 2 else None,
                    best_epochs={"CAMO": (7, of["CAMO"])} if n % 3 == 0 and "CAMO" in of else {},
                )
            )
    return [*found, RunScores("maps", "zoomnext", None, {"CAMO": scores(0.5, 250), "ETIS": scores(0.6, 196)})]


def test_paper_tables_are_what_they_were_before_layouts() -> None:
    sheets = fill_paper(paper_results())[0][:4]
    found = {sheet.name: (to_markdown(sheet).encode(), as_csv(sheet.records, sheet.fields)) for sheet in sheets}
    found = {name: (text, table.replace(b",printed,", b",paper,", 1)) for name, (text, table) in found.items()}
    digests = {name: tuple(sha256(one).hexdigest()[:16] for one in both) for name, both in found.items()}
    assert digests == DIGESTS


def run(name: str, seed: int, datasets: dict[str, Any], size: int = 352, **others: Any) -> RunScores:
    settings = {"data": {"image_size": size}, "protocol": rules_of({})[1]}
    return RunScores(f"outputs/{name}/{seed}", name, seed, datasets, (), settings, **others)


def maps(name: str, datasets: dict[str, Any], protocol: str = "default") -> RunScores:
    content = {"protocol": protocol}
    settings = {"protocol": rules_of(content)[1]}
    return RunScores(f"scores/{name}", name, None, datasets, settings=settings, protocol=protocol_of(content))


def read(folder: Path, text: str, **changes: Any) -> Layout:
    """Read a layout, with other values of some keys."""
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(text) | changes, allow_unicode=True))
    return Layout.read(path)


def lines(sheet: Sheet) -> list[str]:
    """Return the lines as texts, with the marks of the best (b) and the second best (s)."""
    marks = {1: "b", 2: "s", None: ""}
    found = []
    for number, line in enumerate(sheet.lines):
        cells = [line] if isinstance(line, str) else line
        found.append("|".join(f"{cell}{marks[sheet.ranks.get((number, n))]}" for n, cell in enumerate(cells)))
    return found


def test_example_of_the_readme(tmp_path: Path) -> None:
    readme = Path(str(room.__file__)).with_name("README.md").read_text(encoding="utf-8")
    both = {name: scores(0.5, NUM_IMAGES[name]) for name in ("CAMO", "NC4K")}
    full = [{name: scores(0.8 + seed / 10, NUM_IMAGES[name]) for name in both} for seed in (0, 1)]
    results = [
        *(run("cod_r32", seed, of, param=237.08) for seed, of in enumerate(full)),
        *(run(name, 0, both) for name in ("ablation/psg_none", "baseline/sam2_oracle", "left/out")),
        maps("zoomnext", {"CAMO": scores(0.7, 250), "NC4K": scores(0.7, 4000)}),
    ]
    sheet, left_out = fill_layout(read(tmp_path, readme.split("```yaml\n")[1].split("```")[0]), results)
    assert left_out == []
    assert (sheet.name, sheet.title) == ("mine", "Camouflaged objects")
    mean = "0.850 ± 0.071"
    assert lines(sheet) == [
        "Published",
        "Method A|printed¹||0.751s|0.771s|0.831s||0.100b|0.808s|0.871b|0.883b|0.890b|0.058b",
        "|difference||+0.051|+0.071|+0.131||-0.600|||||",
        "ZoomNeXt|ours (maps)²|28.46|0.700|0.700|0.700|0.700s|0.700|0.700|0.700|0.700|0.700|0.700",
        "Ours",
        "Without gate³|ours (1 seed)||0.500|0.500|0.500|0.500|0.500s|0.500|0.500|0.500|0.500|0.500s",
        "|difference||-0.200|-0.200|-0.200|-0.200|-0.200|||||",
        f"Full|ours (2 seeds)|237.08|{mean}b|{mean}b|{mean}b|{mean}b|{mean}|{mean}b|{mean}s|{mean}s|{mean}s|{mean}",
        "|difference|+208.62|+0.150|+0.150|+0.150|+0.150|+0.150|||||",
        "Oracle|ours (1 seed)⁴||0.500|0.500|0.500|0.500|0.500|0.500|0.500|0.500|0.500|0.500",
    ]
    assert sheet.footnotes == [
        "As printed: its paper, Table 2.",
        "Maps: scores/zoomnext. NC4K: 4000 images, in other rows 4121.",
        "Trained for half as long.",
        "It is prompted with the ground truth.",
    ]
    (best,) = [one for one in sheet.records if (one["row"], one["dataset"], one["metric"]) == ("Full", "CAMO", "sm")]
    expected = {"ours_mean": 0.85, "difference": 0.15, "rank": 1, "num_seeds": 2, "num_images": 250}
    assert {key: best[key] for key in expected} == pytest.approx(expected)


MINE = """
title: Mine
datasets: [steel]
metrics: [mae]
rows: [{label: a, maps: A}, {label: b, maps: B}, {label: c, maps: C}]
"""


def test_other_protocols_and_numbers_of_images_are_not_ranked(tmp_path: Path) -> None:
    results = [
        maps("A", {"steel": {"mae": 0.1, "num_images": 900}}, "float"),
        maps("B", {"steel": {"mae": 0.3, "num_images": 900}}),
        maps("C", {"steel": {"mae": 0.4, "num_images": 900}}),
    ]
    sheet, _ = fill_layout(read(tmp_path, MINE, difference="a"), results)
    assert [line.split("|")[2] for line in lines(sheet)] == ["0.100", "0.300b", "0.400s"]  # and no difference
    assert sheet.footnotes[0].endswith(
        "steel: scored by the protocol 'float' (eight_bit=False), other rows by the default protocol (eight_bit=True)."
    )
    rows = [{"label": name, "maps": "A", "protocol": name} for name in ("float", "default")]
    both = [*results, maps("A", {"steel": {"mae": 0.2, "num_images": 900}})]
    assert lines(fill_layout(read(tmp_path, MINE, rows=rows), both)[0]) == [
        "float|ours (maps)¹|0.100",
        "default|ours (maps)²|0.200",
    ]
    _, (line,) = fill_layout(read(tmp_path, MINE), both)
    assert line == "scores/A: other settings than scores/A (in brackets): protocol.eight_bit true (false) (row 'a')"
    sheet, _ = fill_layout(
        read(
            tmp_path,
            MINE,
            rows=[{"label": "b", "maps": "B"}, {"label": "p", "scores": {"steel": [0.2]}, "images": {"steel": 62}}],
        ),
        results,
    )
    assert sheet.ranks == {}
    assert sheet.footnotes[1] == "steel: 62 images, in other rows 900."


def test_another_input_size_is_a_footnote(tmp_path: Path) -> None:
    steel = {"steel": {"mae": 0.1, "num_images": 900}}
    results = [run(name, 0, steel, size) for name, size in (("A", 352), ("B", 352), ("C", 1024))]
    rows = [{"label": name, "run": name} for name in "ABC"]
    sheet, _ = fill_layout(read(tmp_path, MINE, rows=rows), results)
    assert sheet.footnotes == ["Input of 1024 px, in other rows 352 px."]
    assert lines(sheet)[-1] == "C|ours (1 seed)¹|0.100b"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"metrics": ["smm"]}, "metrics must be one of mae, fw, .*, not 'smm'"),
        ({"colums": 1}, "colums: unknown key"),
        ({"rows": [{"label": "a", "map": "A"}]}, r"rows\[0\].map: unknown key; did you mean rows\[0\].maps"),
        ({"rows": [{"label": "a"}]}, "row 'a': it needs run, maps or scores"),
        (
            {"rows": [{"label": "a", "scores": {"steel": [0.1, 0.2]}}]},
            "row 'a': scores has 2 numbers of steel for the metrics mae",
        ),
        (
            {"rows": [{"label": "a", "scores": {"steel": [12]}}]},
            "row 'a': mae of steel must be a number from 0 to 1, not 12",
        ),
        (
            {"rows": [{"label": "a", "scores": {"iron": [0.1]}}]},
            "row 'a': scores has iron, which is none of the datasets steel",
        ),
        (
            {"rows": [{"label": "a", "maps": "A", "param": "many"}]},
            r"rows\[0\].param must be a number of millions such as .*, not 'many'",
        ),
        (
            {"rows": [{"label": "a", "maps": "A"}, {"label": "a", "run": "A"}]},
            "rows has 'a' twice; rename one",
        ),
        ({"datasets": ["CAMO", "camo"]}, "datasets has 'CAMO' twice"),
        ({"datasets": []}, r"datasets must be a list of at least one dataset, not \[\]"),
        ({"rows": [{"label": "a", "maps": "A", "images": {"steel": 0}}]}, r"rows\[0\].images must be .*, not .*0"),
        (
            {"rows": [{"label": "a", "maps": "A", "param": -3}]},
            r"rows\[0\].param must be a number .*, not -3",
        ),
        ({"notes": 1}, "notes must be a list of texts, not 1"),
        ({"page": [0, 0]}, "page must be a width and a height of at least 100 pt"),
        ({"difference": "x"}, "difference names the row 'x', which is not there: a, b, c"),
        ({"counts": ["param"]}, "counts: no row has param; the rows have none: give or score it"),
        ({"rows": [{"label": "a", "maps": "A", "run": "r"}]}, "row 'a': no scores of run=r on steel"),
        ({"rows": [{"label": ""}]}, r"rows\[0\].label must be a text, not ''"),
        ({"rows": [{"label": "a", "maps": "A", "param": 3}]}, r"row 'a': param has no column; set counts: \[param\]"),
        ({"rows": [{"label": "a", "maps": "A", "source": "x"}]}, "row 'a': source says where its scores were printed"),
        ({"rows": [{"label": "a", "scores": {"steel": [0]}, "protocol": "float"}]}, "row 'a': protocol chooses among"),
        ({"rows": [{"label": "a", "maps": "A", "images": {"steel": 9}}]}, "row 'a': images has steel, of which"),
        ({"paper": 9}, "paper must be a whole number from 1 to 4, or null, not 9"),
        ({"rows": [{"label": "Z"}], "methods": True}, "row 'Z': no scores of maps=Z on steel"),
        (
            {"rows": [{"label": "Z"}], "paper": 2},
            "row 'Z': no run found is of such a row of Table 2; give it run, maps",
        ),
        ({"digits": 9}, "digits must be a whole number from 1 to 6, not 9"),
        (
            {"rows": [{"label": "a", "maps": "Z"}]},
            "row 'a': no scores of maps=Z on steel; .* runs=FOLDER .*; found: maps=A \\(steel\\)",
        ),
        ({"rows": [{"label": "a", "run": "A"}]}, "row 'a': no scores of run=A on steel"),
        ({"metrics": ["mae", "hce"]}, "metrics: no row has hce; the rows have mae"),
        ({"datasets": ["steel", "iron"]}, "datasets: no row has iron; the rows have steel"),
    ],
)
def test_wrong_layouts_are_named_in_one_sentence(tmp_path: Path, changes: dict[str, Any], expected: str) -> None:
    results = [maps(name, {"steel": {"mae": 0.1, "num_images": 900}}) for name in "ABC"]
    with pytest.raises(ValueError, match=rf"^[^\n]*mine\.yaml: {expected}[^\n]*$"):
        fill_layout(read(tmp_path, MINE, **changes), results)

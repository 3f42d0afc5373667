"""Layout of a table: its rows, columns and notes, read from YAML. README.md explains the keys."""

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, PrivateAttr, model_validator

from ipsam.engine.metrics import ALL_METRICS
from ipsam.tools.tables.score_files import benchmark_name
from ipsam.tools.tables.sheet import PAGE
from ipsam.utils.options import Options, OptionsError, one_of
from ipsam.utils.untrusted import read_plain_yaml

MAX_DIGITS = 6
LEAST = 100  # pt of a page's width and height
Key = tuple[str, str]  # dataset and metric; a count of parameters has no dataset


Text = Annotated[str, Field(min_length=1)]
Dataset = Annotated[str, AfterValidator(lambda name: benchmark_name(name) or name)]
Metric = Annotated[str, one_of(ALL_METRICS)]
Millions = Field(
    default=None, ge=0, allow_inf_nan=False, strict=False, description='a number of millions such as "21.26"'
)


class Row(Options):
    """Row with numbers printed elsewhere, those of runs or of scored maps, or both."""

    label: Text
    section: Text | None = None
    scores: Mapping[Dataset, Sequence[float | None]] = Field(default={}, description="{DATASET: [a number a metric]}")
    source: str | None = None
    images: Mapping[Dataset, Annotated[int, Field(ge=1)]] = Field(default={}, description="{DATASET: number of images}")
    param: Decimal | None = Millions
    t_param: Decimal | None = Millions
    run: str | None = None
    maps: str | None = None
    protocol: str | None = None
    apart: Text | None = None
    remark: str | None = None


class Layout(Options):
    """Table as data; Tables 1 to 4 of the paper are four of them."""

    title: str
    datasets: Sequence[Dataset] = Field(min_length=1, description="a list of at least one dataset")
    metrics: Sequence[Metric] = Field(min_length=1, description="a list of at least one metric")
    rows: Sequence[Row] = Field(min_length=1, description="a list of rows, each a section of keys")
    stub: str = "Method"
    counts: Sequence[Literal["param", "t_param"]] = ()
    notes: Sequence[str] = ()
    origin: str = "printed"
    best: bool = True
    difference: str | None = None
    digits: int = Field(default=3, ge=1, le=MAX_DIGITS)
    page: Sequence[Annotated[float, Field(ge=LEAST, allow_inf_nan=False)]] = Field(
        default=PAGE, min_length=2, max_length=2, description=f"a width and a height of at least {LEAST} pt"
    )
    paper: int | None = Field(default=None, ge=1, le=4)
    methods: bool = False
    _file: Path = PrivateAttr(default=Path())

    @classmethod
    def read(cls, file: Path) -> "Layout":
        """Read a layout and check it.

        Raises:
            ValueError: a key is unknown, missing or has a wrong value; one sentence with the file and the key.
            OSError: the file cannot be read.
        """
        content = read_plain_yaml(file)
        if not isinstance(content, dict):
            raise ValueError(f"{file} must be a layout with title, datasets, metrics and rows, not {content!r:.99}")
        try:
            layout = cls(**content)
        except OptionsError as error:
            raise ValueError(f"{file}: {str(error.problems[0]).removeprefix(': ')}") from None
        layout._file = file
        return layout

    @property
    def file(self) -> Path:
        """File that it was read from."""
        return self._file

    @property
    def name(self) -> str:
        """Name of its table in files and in the CSV."""
        return self._file.stem

    @property
    def against_print(self) -> bool:
        """True if it only sets ours beside print, as the paper's tables do."""
        return self.paper is not None and not self.best and self.difference is None

    @property
    def columns(self) -> list[Key]:
        """Dataset and metric of each column of scores."""
        return [(dataset, metric) for dataset in self.datasets for metric in self.metrics]

    @property
    def sections(self) -> list[tuple[str | None, list[Row]]]:
        """Rows below each heading; None for the first ones if they have none."""
        found: list[tuple[str | None, list[Row]]] = []
        for row in self.rows:
            if row.section is not None or not found:
                found.append((row.section, []))
            found[-1][1].append(row)
        return found

    def printed(self, row: Row) -> dict[Key, str]:
        """List a row's printed numbers by column, first the counts; empty texts where none is printed."""
        counts = {("", key): "" if (count := getattr(row, key)) is None else str(count) for key in self.counts}
        scores = {name: dict(zip(self.metrics, values, strict=True)) for name, values in row.scores.items()}
        found = {(dataset, metric): scores.get(dataset, {}).get(metric) for dataset, metric in self.columns}
        return counts | {key: "" if value is None else f"{value:.{self.digits}f}" for key, value in found.items()}

    @model_validator(mode="after")
    def _check_rows(self) -> "Layout":
        labels = [row.label for row in self.rows]
        lists = {"rows": labels, "datasets": self.datasets, "metrics": self.metrics, "counts": self.counts}
        for key, names in lists.items():
            if twice := [name for name in names if names.count(name) > 1]:
                raise ValueError(f"{key} has {twice[0]!r} twice; rename one or leave it out")
        if self.difference is not None and self.difference not in labels:
            raise ValueError(f"difference names the row {self.difference!r}, which is not there: {', '.join(labels)}")
        for row in self.rows:
            if problem := next(self._problems(row), None):
                raise ValueError(f"row {row.label!r}: {problem}")
        return self

    def _problems(self, row: Row) -> Iterator[str]:
        ours = row.run or row.maps or self.methods or self.paper
        if not (ours or row.scores):
            yield "it needs run, maps or scores"
        if row.protocol is not None and not ours:
            yield "protocol chooses among scores of run or maps, and it has neither; leave it out"
        if row.source is not None and not row.scores:
            yield "source says where its scores were printed, and it has no scores; leave it out"
        for key in ("param", "t_param"):
            if getattr(row, key) is not None and key not in self.counts:
                yield f"{key} has no column; set counts: [{key}], or leave it out"
        for key in ("scores", "images"):
            for dataset in getattr(row, key):
                if dataset not in self.datasets:
                    yield f"{key} has {dataset}, which is none of the datasets {', '.join(self.datasets)}"
        for dataset in row.images:
            if dataset not in row.scores:
                yield f"images has {dataset}, of which it has no scores; leave it out"
        for dataset, values in row.scores.items():
            if len(values) != len(self.metrics):
                names = ", ".join(self.metrics)
                yield f"scores has {len(values)} numbers of {dataset} for the metrics {names}; write null for a gap"
            for metric, value in zip(self.metrics, values, strict=False):
                highest = ALL_METRICS[metric].highest
                if value is not None and not 0 <= value <= highest:
                    yield f"{metric} of {dataset} must be a number from 0 to {highest:g}, not {value:g}"

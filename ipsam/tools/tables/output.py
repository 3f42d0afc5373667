"""Files of a table: Markdown, CSV, HTML and LaTeX."""

from functools import cache
from importlib.resources import files
from itertools import groupby
from pathlib import Path

from jinja2 import Environment, StrictUndefined, Template

from ipsam.tools.tables.latex import to_latex
from ipsam.tools.tables.sheet import Sheet, plain, to_markdown
from ipsam.utils.files import as_csv, write_files


def write(sheet: Sheet, folder: Path) -> list[Path]:
    """Write ``<name>.md``, ``.csv`` (one line for each number, in full precision), ``.html`` and ``.tex``."""
    texts = {"md": to_markdown(sheet), "html": to_html(sheet), "tex": to_latex(sheet)}
    contents = {ending: text.encode() for ending, text in texts.items()}
    contents["csv"] = as_csv(sheet.records, sheet.fields)
    names = {f"{sheet.name}.{ending}": contents[ending] for ending in ("md", "csv", "html", "tex")}
    write_files(folder, names)
    return [folder / name for name in names]


def to_html(sheet: Sheet) -> str:
    """Format a page that needs no other file. Jinja2 escapes all texts, and the page allows no script."""
    groups = [(group, len(list(columns))) for group, columns in groupby(group for group, _ in sheet.columns)]
    return _template().render(sheet=sheet, groups=groups if any(group for group, _ in groups) else [])


@cache
def _template() -> Template:
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    environment.filters["plain"] = plain
    return environment.from_string(files(__package__).joinpath("sheet.html").read_text(encoding="utf-8"))

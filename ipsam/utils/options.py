"""Options of a section or command: types, ranges and choices, and one sentence for each value that breaks them."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

BOUNDS = {"gt": "above {}", "ge": "of at least {}", "lt": "below {}", "le": "up to {}"}  # of annotated_types
NAMES = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", NoneType: "null"}
MANY = {"a text": "texts", "a number": "numbers", "a whole number": "whole numbers"}


class Problem(NamedTuple):
    """Problem with the value of a key; ``text`` continues the sentence that the key begins.

    Attributes:
        key: dotted, below the section.
        text: such as "must be a number, not 'x'"; or ": unknown key".
        meant: the key in the same section that the user may have meant.
    """

    key: str
    text: str
    meant: str = ""

    def __str__(self) -> str:
        meant = ".".join([*self.key.split(".")[:-1], self.meant])
        return f"{self.key}{self.text}{f'; did you mean {meant}?' if self.meant else ''}"


class OptionsError(ValueError):
    """Values that options do not take, one sentence each."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems

    def under(self, section: str) -> "OptionsError":
        """Return the same error with the keys' section in front of each."""
        return OptionsError([one._replace(key=f"{section}.{one.key}".rstrip(".")) for one in self.problems])


def _path(value: Any) -> Path:
    if isinstance(value, str | Path) and str(value):
        return Path(value)
    raise ValueError(f"must be a path, not {value!r:.99}")


PathOption = Annotated[Path, BeforeValidator(_path)]


def one_of(choices: Collection[str]) -> BeforeValidator:
    """Return a validator of a text that is one of some names, for choices that another module lists."""

    def check(value: Any) -> Any:
        if not isinstance(value, str) or value not in choices:  # a list would not be hashable
            raise ValueError(f"must be one of {', '.join(choices)}, not {value!r:.99}")
        return value

    return BeforeValidator(check)


class Options(BaseModel):
    """Base of all options, immutable and strict: ``"3"`` is not a number, and ``1`` is not true.

    Raises:
        OptionsError: a key is unknown or missing, or its value has the wrong type, range or choice.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    if not TYPE_CHECKING:  # mypy sees the signature that pydantic makes of the fields

        def __init__(self, **values: Any) -> None:
            try:
                super().__init__(**values)
            except ValidationError as error:
                raise OptionsError(list(_problems(error, type(self).model_fields, values))) from None


def quoted(text: str) -> str:
    """Quote a text for Hydra's command line, in which a backslash counts only before a quotation mark."""
    if text == "null":
        return text
    escaped = re.sub(r'(\\*)"', r"\1\1\\" + '"', text)
    return '"' + re.sub(r"(\\+)$", r"\1\1", escaped) + '"'


def close_to(name: str, known: Iterable[str]) -> str:
    """Return the known name that resembles a misspelt one most; an empty text where none does."""
    return next(iter(get_close_matches(name, list(known), 1)), "")


def _problems(error: ValidationError, fields: Mapping[str, FieldInfo], values: Mapping[str, Any]) -> list[Problem]:
    problems: dict[str, list[Problem]] = {}
    for one in error.errors():
        key = str(one["loc"][0]) if one["loc"] else ""
        cause = one.get("ctx", {}).get("error")
        if isinstance(cause, OptionsError):
            index = "".join(f"[{part}]" for part in one["loc"][1:])  # in a list of sections
            found = list(cause.under(f"{key}{index}").problems)
        elif one["type"] == "extra_forbidden":
            meant = close_to(key, fields)
            found = [Problem(key, ": unknown key" + ("" if meant else f"; there are {', '.join(fields)}"), meant)]
        elif one["type"] == "missing":
            found = [Problem(key, " is missing")]
        elif cause is not None:
            found = [Problem(key, f"{' ' if key else ': '}{cause}")]
        else:
            way_out = f"; write {key}=[{values[key]}]" if one["type"] == "sequence_str" else ""
            found = [Problem(key, f" must be {_in_words(fields[key])}, not {values[key]!r:.99}{way_out}")]
        problems.setdefault(key, found)  # the first of several reasons why a value fits no part of a union
    return [one for found in problems.values() for one in found]


def _in_words(field: FieldInfo) -> str:
    """Return what a field takes, such as "a whole number from 1 to 1024"."""
    words = field.description or _type_in_words(field.annotation)
    what, null, _ = words.partition(" or null")
    limits = {name: _shown(getattr(entry, name)) for entry in field.metadata for name in BOUNDS if hasattr(entry, name)}
    bounds = [BOUNDS[name].format(limit) for name, limit in limits.items()]
    if limits.keys() == {"ge", "le"}:
        bounds = [f"from {limits['ge']} to {limits['le']}"]
    return f"{what} {' and '.join(bounds)}{',' if null else ''}{null}" if bounds else words


def _shown(limit: float) -> str:
    return f"{int(limit):,}" if limit == int(limit) else f"{limit:g}"


def _type_in_words(hint: Any) -> str:
    *others, last = _alternatives(hint)
    return f"{', '.join(others)} or {last}" if others else last


def _alternatives(hint: Any) -> list[str]:
    kind, parts = get_origin(hint), get_args(hint)
    if kind is Annotated:
        return _alternatives(parts[0])
    if kind is Literal:
        return [str(choice) for choice in parts]
    if kind in (Union, UnionType):
        return [words for part in parts for words in _alternatives(part)]
    if kind is Sequence:
        words = _type_in_words(parts[0])
        return [f"a list of {MANY.get(words, words)}"]
    return [NAMES.get(hint, "a section of keys")]

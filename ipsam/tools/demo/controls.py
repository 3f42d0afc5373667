"""Controls for the options of a prediction that a visitor may want to change."""

import re
from collections.abc import Mapping
from contextlib import suppress
from types import NoneType
from typing import Any, Literal, get_args, get_origin

import gradio as gr
from pydantic.fields import FieldInfo

from ipsam.engine.inference.options import PredictionOptions
from ipsam.utils.resources import CONFIGS

SHOWN = ("tta", "zoom", "threshold", "background", "crop", "feather")  # the others cost much, or few would miss them
STEPS = 100  # of a slider


def controls(options: PredictionOptions) -> dict[str, Any]:
    """Lay out a control for each of ``SHOWN``, with its range, its value, and its line of ``ipsam predict --help``."""
    comments = dict(re.findall(r"^(\w+):.*?# (.*)", (CONFIGS / "predict.yaml").read_text(encoding="utf-8"), re.M))
    return {
        name: _control(
            PredictionOptions.model_fields[name],
            label=name,
            info=comments[name].removeprefix("true: ").replace("null", "empty"),
            value=getattr(options, name),
        )
        for name in SHOWN
    }


def options_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that the controls' values stand for: an empty field is None, and numbers may come as text."""
    return {name: _read(PredictionOptions.model_fields[name], value) for name, value in values.items()}


def _read(field: FieldInfo, value: Any) -> Any:
    if value == "":
        return None
    if isinstance(value, str) and float in get_args(field.annotation):
        with suppress(ValueError):  # which the options' own error explains
            return float(value)
    return value


def _control(field: FieldInfo, **shown: Any) -> Any:
    """Choose a component by an option's type; one that may be None has a field of text, which may be empty."""
    if field.annotation is bool:
        return gr.Checkbox(**shown)
    if get_origin(field.annotation) is Literal:
        return gr.Radio(get_args(field.annotation), **shown)
    if NoneType in get_args(field.annotation):  # gradio's field of a number would show 0
        return gr.Textbox(**shown)
    low, high = (one.gt if hasattr(one, "gt") else one.lt for one in field.metadata)
    step = (high - low) / STEPS
    return gr.Slider(low + step, high - step, step=step, **shown)

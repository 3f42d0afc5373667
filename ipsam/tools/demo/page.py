"""The page, as gradio's blocks."""

import html
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import gradio as gr
from gradio.utils import get_upload_folder

from ipsam.engine.inference.base import BasePredictor
from ipsam.tools.demo.answer import answer
from ipsam.tools.demo.controls import controls, options_of
from ipsam.tools.demo.examples import thumbnails
from ipsam.tools.demo.html_images import maps, overlay, preview
from ipsam.tools.demo.uploads import REFUSED, make_room, uploaded
from ipsam.utils.options import OptionsError

CLEAN_EVERY, KEEP_FOR = 600, 6 * 3600  # seconds between clean-ups, and until uploads and results are removed
STRENGTH = 0.5  # initial opacity of the overlay
# JavaScript in the browser:
MIX = "(strength) => document.documentElement.style.setProperty('--strength', strength)"
PICK = "element.addEventListener('click', (event) => {\
 const button = event.target.closest('button'); if (button) trigger('click', {name: button.dataset.name}); })"
WHAT = "Finds the object in a picture without being told where to look."
DOWNLOADS = {"cutout": "cutout (transparent PNG)", "mask": "mask (PNG)", "map": "probability map (PNG)"}
INVITATION = "Choose a picture, or an example, to begin."

Updates = dict[str, Any]  # new values of components, by the keys of build_page's outputs


@dataclass
class Visit:
    """A visitor's session: how many images were removed from the upload box."""

    removed: int = 0


def build_page(predictor: BasePredictor, *, title: str, about: str, examples: dict[str, Path]) -> gr.Blocks:
    """Lay out the components and connect them to their functions.

    Args:
        predictor: the model.
        title, about: its name, and a sentence on its training data.
        examples: image files by name.
    """
    model = getattr(predictor, "model", None)  # an exported file shows none
    size = f"{sum(one.numel() for one in model.parameters()) / 1e6:.1f} million parameters, " if model else ""
    with gr.Blocks(title=title, analytics_enabled=False, delete_cache=(CLEAN_EVERY, KEEP_FOR)) as page:
        gr.HTML(
            f"<h1>{html.escape(title)}</h1><p>{WHAT} {size}"
            f"{predictor.image_size} px; pictures stay on the machine that serves this page.</p>"
            f"<p>{html.escape(about)}</p>"
        )
        outputs: dict[str, Any] = {}
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                image = outputs["image"] = gr.Image(
                    label="Your picture",
                    type="filepath",
                    sources=["upload"],
                    placeholder="Drop or paste a picture\n- or -\nclick to choose one",
                    buttons=[],
                    height=320,
                    elem_id="upload",
                )
                thumbs = gr.HTML(thumbnails(examples), js_on_load=PICK, apply_default_css=False)
                with gr.Accordion("Options", open=False):
                    chosen = controls(predictor.options)
                    again = gr.Button("Predict with these options")
            with gr.Column(scale=3, min_width=300):
                outputs["status"] = gr.HTML(_status(INVITATION), elem_id="status")
                outputs["overlay"] = gr.HTML(visible=False, elem_id="overlay")
                strength = gr.Slider(0, 1, STRENGTH, label="Strength of the overlay", visible=False, buttons=[])
                outputs["strength"] = strength
                outputs["cutout"] = gr.DownloadButton(visible=False, variant="primary")
                with gr.Row():
                    outputs |= {kind: gr.DownloadButton(visible=False) for kind in ("mask", "map")}
        outputs["maps"] = gr.HTML(visible=False, elem_id="maps")
        visit = gr.State(Visit())

        def show(upload: dict[str, Any] | None, visit: Visit, *values: Any) -> Iterator[dict[Any, Any]]:
            options = options_of(dict(zip(chosen, values, strict=True)))
            for updates in answers(predictor, upload, visit, options):
                yield {outputs[name]: value for name, value in updates.items()}

        def pick(event: gr.EventData) -> str:
            try:
                return str(examples[event.name])
            except (AttributeError, KeyError, TypeError):  # the page has no such button
                raise gr.Error(REFUSED, print_exception=False) from None

        def remove(visit: Visit) -> dict[Any, Any]:
            visit.removed += 1
            return {outputs[name]: value for name, value in _message_only(INVITATION).items()}

        answering: dict[str, Any] = {
            "fn": show,
            "inputs": [image, visit, *chosen.values()],
            "outputs": list(outputs.values()),
            "preprocess": False,  # gradio would decode the image itself
            "show_progress_on": [outputs["status"]],
            "api_visibility": "private",
            "concurrency_limit": 1,
            "concurrency_id": "model",  # one prediction at a time, of uploads and examples together
        }
        gr.on([image.upload, again.click], **answering, trigger_mode="always_last")
        thumbs.click(pick, outputs=image, show_progress="hidden", api_visibility="private").then(**answering)
        others = [component for name, component in outputs.items() if name != "image"]
        image.clear(remove, visit, others, show_progress="hidden", api_visibility="private")
        strength.input(None, strength, js=MIX, api_visibility="private")
    page.queue(api_open=False)
    return page


def answers(
    predictor: BasePredictor, upload: dict[str, Any] | None, visit: Visit, options: Mapping[str, Any]
) -> Iterator[Updates]:
    """Yield the prediction, and its files once written, which takes long for a large image."""
    removed = visit.removed
    if upload is None:  # removed while the call was in the queue, or options were chosen first
        yield {"status": gr.skip()}
        return
    try:
        path = uploaded(upload["path"])
        result, about = answer(predictor, path, **options)
    except ValueError as error:
        kept = {} if isinstance(error, OptionsError) else {"image": None}
        yield {**kept, **_message_only(html.escape(str(error)), failed=True)}
        return
    if visit.removed > removed:  # removed during the prediction
        yield {"status": gr.skip()}
        return
    small = preview(result)
    yield {
        "status": _status(about),
        "overlay": gr.HTML(overlay(small), visible=True),
        "strength": gr.Slider(visible=True),
        "cutout": gr.DownloadButton("The cutout is being written", value=None, visible=True, interactive=False),
        "mask": gr.DownloadButton(visible=False),
        "map": gr.DownloadButton(visible=False),
        "maps": gr.HTML(maps(small), visible=True),
    }
    if not make_room(6 * result.prob.size):
        yield {"cutout": gr.DownloadButton("The demo has no room for the cutout", interactive=False)}
        return
    folder = Path(get_upload_folder()) / uuid4().hex
    yield {
        kind: gr.DownloadButton(
            f"Download the {label}",
            value=result.save(folder / f"{path.stem}_{kind}.png", kind),
            visible=True,
            interactive=True,
        )
        for kind, label in DOWNLOADS.items()
    }


def _message_only(message: str, *, failed: bool = False) -> Updates:
    """Hide the former result, so that no message stands beside another image's maps."""
    hidden = {"overlay": gr.HTML, "strength": gr.Slider, "maps": gr.HTML} | dict.fromkeys(DOWNLOADS, gr.DownloadButton)
    updates = {name: component(visible=False) for name, component in hidden.items()}
    return {"status": _status(message, failed=failed), **updates}


def _status(message: str, *, failed: bool = False) -> str:
    return f'<p role="{"alert" if failed else "status"}">{message}</p>'

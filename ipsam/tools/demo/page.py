"""The page itself, as gradio's blocks."""

import html
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import gradio as gr
from gradio.utils import get_upload_folder

from ipsam.engine.inference.predictor import Predictor
from ipsam.tools.demo import pictures
from ipsam.tools.demo.answer import answer
from ipsam.tools.demo.examples import thumbnails
from ipsam.tools.demo.uploads import REFUSED, make_room, uploaded

CLEAN_EVERY, KEEP_FOR = 600, 6 * 3600  # seconds that uploads and cutouts stay while the page is served
STRENGTH = 0.5  # of the overlay, at first
# In the browser:
MIX = "(strength) => document.documentElement.style.setProperty('--strength', strength)"
PICK = "element.addEventListener('click', (event) => {\
 const button = event.target.closest('button'); if (button) trigger('click', {name: button.dataset.name}); })"
WHAT = "Finds the camouflaged object in a picture without being told where to look."
INVITATION = "Choose a picture, or an example, to begin."


@dataclass
class Visit:
    """What is remembered of a visitor: how many pictures were taken away again."""

    removed: int = 0


def build_page(predictor: Predictor, *, title: str, examples: dict[str, Path]) -> gr.Blocks:
    """Everything that is seen, and what happens on it.

    Args:
        predictor: the model.
        title: its name.
        examples: pictures to try, by name.
    """
    parameters = sum(parameter.numel() for parameter in predictor.model.parameters())
    with gr.Blocks(title=title, analytics_enabled=False, delete_cache=(CLEAN_EVERY, KEEP_FOR)) as page:
        gr.HTML(
            f"<h1>{html.escape(title)}</h1><p>{WHAT} {parameters / 1e6:.1f} million parameters, "
            f"{predictor.image_size} px; pictures stay on the machine that serves this page.</p>"
        )
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                image = gr.Image(
                    label="Your picture",
                    type="filepath",
                    sources=["upload"],
                    placeholder="Drop or paste a picture\n- or -\nclick to choose one",
                    buttons=[],
                    height=320,
                    elem_id="upload",
                )
                thumbs = gr.HTML(thumbnails(examples), js_on_load=PICK, apply_default_css=False)
            with gr.Column(scale=3, min_width=300):
                status = gr.HTML(_status(INVITATION), elem_id="status")
                overlay = gr.HTML(visible=False, elem_id="overlay")
                strength = gr.Slider(0, 1, STRENGTH, label="Strength of the overlay", visible=False, buttons=[])
                cutout = gr.DownloadButton("Download the cutout", visible=False, variant="primary")
        maps = gr.HTML(visible=False, elem_id="maps")
        visit = gr.State(Visit())
        answering: dict[str, Any] = {
            "fn": _answering(predictor),
            "inputs": [image, visit],
            "outputs": [image, status, overlay, strength, cutout, maps],
            "preprocess": False,  # gradio would decode the picture itself
            "show_progress_on": [status],
            "api_visibility": "private",
            "concurrency_limit": 1,
            "concurrency_id": "model",  # one prediction at a time, wherever the picture comes from
        }
        image.upload(**answering, trigger_mode="always_last")

        def pick(event: gr.EventData) -> str:
            try:
                return str(examples[event.name])
            except (AttributeError, KeyError, TypeError):  # the page has no such button
                raise gr.Error(REFUSED, print_exception=False) from None

        picked = thumbs.click(pick, outputs=image, show_progress="hidden", api_visibility="private")
        picked.then(**answering)
        shown = [status, overlay, strength, cutout, maps]
        image.clear(_removed, visit, shown, show_progress="hidden", api_visibility="private")
        strength.input(None, strength, js=MIX, api_visibility="private")
    page.queue(api_open=False)
    return page


def _answering(predictor: Predictor) -> Callable[[dict[str, Any] | None, Visit], Iterator[list[Any]]]:
    def show(upload: dict[str, Any] | None, visit: Visit) -> Iterator[list[Any]]:
        """The answer at once, and its cutout when that is written, which takes long for a large picture."""
        removed = visit.removed
        if upload is None:  # removed while it waited for its turn
            yield [gr.skip()] * 6
            return
        try:
            path = uploaded(upload["path"])
            answered = answer(predictor, path)
        except ValueError as error:
            yield [None, *_nothing(_status(html.escape(str(error)), failed=True))]
            return
        if visit.removed > removed:
            yield [gr.skip()] * 6
            return
        small = pictures.preview(answered.result)
        yield [
            gr.skip(),
            _status(answered.about),
            gr.HTML(pictures.overlay(small), visible=True),
            gr.Slider(visible=True),
            gr.DownloadButton("The cutout is being written", value=None, visible=True, interactive=False),
            gr.HTML(pictures.maps(small), visible=True),
        ]
        if not make_room(4 * answered.result.prob.size):
            button = gr.DownloadButton("The demo has no room for the cutout", interactive=False)
            yield [gr.skip(), gr.skip(), gr.skip(), gr.skip(), button, gr.skip()]
            return
        file = Path(get_upload_folder()) / uuid4().hex / f"{path.stem}_cutout.png"
        file.parent.mkdir(parents=True)
        answered.result.cutout().save(file, compress_level=3)  # a third of the time, for a fifth more bytes
        button = gr.DownloadButton("Download the cutout (transparent PNG)", value=file, interactive=True)
        yield [gr.skip(), gr.skip(), gr.skip(), gr.skip(), button, gr.skip()]

    return show


def _removed(visit: Visit) -> list[Any]:
    """The picture was taken away, perhaps while the model was at it."""
    visit.removed += 1
    return _nothing(_status(INVITATION))


def _nothing(status: str) -> list[Any]:
    """A message alone, so that no picture stands beside one that is not its own."""
    return [status, *(component(visible=False) for component in (gr.HTML, gr.Slider, gr.DownloadButton, gr.HTML))]


def _status(message: str, *, failed: bool = False) -> str:
    return f'<p role="{"alert" if failed else "status"}">{message}</p>'

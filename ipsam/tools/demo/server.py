"""Local server of the page, which fetches nothing from other machines and leaves no files."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ipsam.engine.inference.base import BasePredictor
from ipsam.tools.demo.answer import MAX_BYTES
from ipsam.tools.demo.examples import copy_examples, write_examples

HERE = Path(__file__).parent


def require_gradio() -> None:
    """Raise ValueError if gradio, an optional dependency, is missing."""
    try:
        import gradio  # noqa: F401 (only tests the import)
    except ImportError as error:
        raise ValueError(f"the demo needs gradio ({error}): pip install -e '.[demo]'") from error


@contextmanager
def serving(
    predictor: BasePredictor,
    *,
    title: str,
    about: str = "",
    host: str,
    port: int,
    names: Sequence[str] = (),
    examples: Path | None = None,
) -> Iterator[str]:
    """Serve the page while the context is open, and yield its address.

    Uploads and results are in a temporary folder, which is removed at the end.

    Args:
        predictor: the model.
        title, about: its name, and a sentence on its training data.
        host, port: address to serve at.
        names: further host names to answer to.
        examples: folder of pictures to offer; None draws some.

    Raises:
        ValueError, OSError: ``examples`` holds no pictures, or a broken one.
    """
    import gradio as gr
    from fastapi import Depends
    from starlette.middleware import Middleware

    from ipsam.tools.demo.guard import Guard, check_call
    from ipsam.tools.demo.page import build_page

    with TemporaryDirectory(prefix="ipsam_demo_") as folder:
        no_proxy = os.environ.get("no_proxy") or os.environ.get("NO_PROXY")  # gradio asks its own page whether it is up
        os.environ["no_proxy"] = ",".join(filter(None, [no_proxy, host, "localhost"]))
        os.environ["GRADIO_TEMP_DIR"] = str(Path(folder).resolve() / "files")
        offered = Path(folder) / "examples"
        files = write_examples(offered) if examples is None else copy_examples(examples, offered)
        page = build_page(predictor, title=title, about=about, examples=files)
        page.launch(
            server_name=host,
            server_port=port,
            share=False,
            prevent_thread_lock=True,
            inbrowser=False,
            quiet=True,
            show_error=True,
            max_file_size=MAX_BYTES,
            run_history=False,
            enable_monitoring=False,
            ssr_mode=False,
            mcp_server=False,
            pwa=False,
            app_kwargs={
                "middleware": [Middleware(Guard, host=host, names=names)],
                "dependencies": [Depends(check_call)],
            },
            footer_links=[],
            theme=_theme(gr),
            css_paths=HERE / "page.css",
            head=f"<script>{(HERE / 'page.js').read_text(encoding='utf-8')}</script>",
        )
        try:
            yield page.local_url
        finally:
            page.close(verbose=False)


def _theme(gr: Any) -> Any:
    """Adjust gradio's theme: calmer colours with sufficient contrast, and system fonts, which need no download."""
    theme = gr.themes.Default(primary_hue="indigo", font=["system-ui", "sans-serif"], font_mono=["monospace"])
    return theme.set(button_primary_background_fill="*primary_600", button_primary_background_fill_dark="*primary_600")

"""Serving the page: on this machine alone, with nothing fetched and nothing left behind."""

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ipsam.engine.inference.predictor import Predictor
from ipsam.tools.demo.answer import MAX_BYTES
from ipsam.tools.demo.examples import write_examples

HERE = Path(__file__).parent


def require_gradio() -> None:
    """See that gradio is there, which is not among what ipsam always needs.

    Raises:
        ValueError: it is not.
    """
    try:
        import gradio  # noqa: F401 (whether it is there)
    except ImportError as error:
        raise ValueError(f"the demo needs gradio ({error}): pip install -e '.[demo]'") from error


def free_port(host: str, port: int) -> int:
    """The port, if the page can be served there; any free one for 0.

    Raises:
        ValueError: it can't.
    """
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server will
            probe.bind((host, port))
            return int(probe.getsockname()[1])
    except (OSError, OverflowError, TypeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ValueError(
            f"host={host} port={port}: the page can't be served there ({reason}); choose another port, "
            "or port=0 for any free one, and an address of this machine as host"
        ) from error


def asked_to_stop() -> threading.Event:
    """Set by the first signal that asks the process to end; more of them do not keep it from cleaning up."""
    asked = threading.Event()
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:  # as nohup has it
            signal.signal(number, lambda *_: asked.set())
    return asked


@contextmanager
def serving(predictor: Predictor, *, title: str, host: str, port: int) -> Iterator[str]:
    """Serve the page while the context is open; it gives the address.

    Uploads and cutouts lie in a temporary folder, which goes when the context ends.
    """
    import gradio as gr
    from fastapi import Depends
    from starlette.middleware import Middleware

    from ipsam.tools.demo.guard import Guard, check_call
    from ipsam.tools.demo.page import build_page

    with TemporaryDirectory(prefix="ipsam_demo_") as folder, _environment(_settings(Path(folder), host)):
        page = build_page(predictor, title=title, examples=write_examples(Path(folder) / "examples"))
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
            app_kwargs={"middleware": [Middleware(Guard, host=host)], "dependencies": [Depends(check_call)]},
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
    """Gradio's own in calmer colours, with enough contrast, and in the fonts of whoever looks: none are fetched."""
    theme = gr.themes.Default(primary_hue="indigo", font=["system-ui", "sans-serif"], font_mono=["monospace"])
    return theme.set(button_primary_background_fill="*primary_600", button_primary_background_fill_dark="*primary_600")


def _settings(folder: Path, host: str) -> dict[str, str]:
    """Gradio's: where it keeps files; and that it asks no proxy whether it is up."""
    no_proxy = os.environ.get("no_proxy") or os.environ.get("NO_PROXY")
    return {
        "GRADIO_TEMP_DIR": str(folder.resolve() / "files"),
        "no_proxy": ",".join(filter(None, [no_proxy, host, "localhost"])),
    }


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    former = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in former.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value

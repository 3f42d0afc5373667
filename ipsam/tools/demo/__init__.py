"""A web page that shows a model's prediction for an uploaded image; needs gradio, the extra ``[demo]``."""

from ipsam.tools.demo.server import free_port, require_gradio, serving, stop_requested

__all__ = ["free_port", "require_gradio", "serving", "stop_requested"]

"""A web page that shows a model's prediction for an uploaded image; needs gradio, the extra ``[demo]``."""

from ipsam.tools.demo.server import require_gradio, serving

__all__ = ["require_gradio", "serving"]

"""A model behind HTTP: image in, mask out; needs FastAPI and others, the extra ``[serve]``."""

from ipsam.tools.serve.server import Limits, build_app, require_fastapi, serving

__all__ = ["Limits", "build_app", "require_fastapi", "serving"]

"""A web page that shows what a model makes of a picture; needs gradio, the extra ``[demo]``."""

from ipsam.engine.demo.server import asked_to_stop as asked_to_stop
from ipsam.engine.demo.server import free_port as free_port
from ipsam.engine.demo.server import require_gradio as require_gradio
from ipsam.engine.demo.server import serving as serving

"""A web page that shows what a model makes of a picture; needs gradio, the extra ``[demo]``."""

from ipsam.tools.demo.server import asked_to_stop as asked_to_stop
from ipsam.tools.demo.server import free_port as free_port
from ipsam.tools.demo.server import require_gradio as require_gradio
from ipsam.tools.demo.server import serving as serving

"""Middleware in front of gradio, which trusts every client: only requests of the page itself pass."""

import ipaddress
import re
import socket
from collections.abc import Sequence
from types import NoneType
from typing import Literal
from urllib.parse import urlsplit

from fastapi import HTTPException, Request
from gradio import FileData, Image, State
from pydantic import BaseModel
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ipsam.tools.demo.answer import MAX_BYTES
from ipsam.tools.demo.uploads import REFUSED, make_room, uploaded

API = "/gradio_api/"
JOIN, UPLOAD, FILE = f"{API}queue/join", f"{API}upload", f"{API}file="
SERVED = re.compile(
    r"/((assets|static)/.+|config|favicon\.ico|manifest\.json|robots\.txt|theme\.css"
    r"|gradio_api/(app_id|cancel|file=.+|heartbeat/.+|queue/(data|join)|startup-events|upload|upload_progress))?"
)
INPUTS, OPTION = {Image: FileData, State: NoneType}, bool | float | int | str  # by component; of the options' controls
MAX_BODY = 2**20  # bytes of a request without the image in it
HEADERS = {
    # Gradio's page has inline scripts and styles, and compiles the scripts of its components.
    "Content-Security-Policy": "default-src 'none'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; manifest-src 'self'; "
    "base-uri 'self'; form-action 'none'; frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


class Call(BaseModel, extra="forbid", strict=True):
    """Call of a page function, in the form that the page sends."""

    fn_index: int
    session_hash: str
    data: list[FileData | bool | float | str | None]
    event_data: dict[Literal["name"], str] | None = None
    trigger_id: int | None = None


async def check_call(request: Request) -> None:
    """Refuse a call that the page would not send; FastAPI runs this before every endpoint.

    Raises:
        HTTPException: the call names no function of the page, or inputs other than uploads and options.
    """
    if request.scope["path"] != JOIN:
        return
    try:
        call = Call.model_validate(await request.json())
        function = request.app.get_blocks().fns[call.fn_index]
        for component, value in zip(function.inputs, call.data, strict=True):
            if not isinstance(value, INPUTS.get(type(component), OPTION) | None):
                raise ValueError(REFUSED)
            if isinstance(value, FileData):
                uploaded(value.path)
    except (ValueError, KeyError):
        raise HTTPException(403, REFUSED) from None
    if function.fn is None:
        raise HTTPException(403, REFUSED)


class Guard:
    """Middleware that refuses foreign hosts and origins, unused paths, and uploads without disk space.

    A foreign host is a domain that an attacker has pointed at this machine, so that the attacker's page can read this
    server's responses (DNS rebinding).
    """

    def __init__(self, app: ASGIApp, *, host: str, names: Sequence[str] = ()) -> None:
        self.app = app
        self.public = {name.lower() for name in names}
        self.any_address = host == "0.0.0.0"  # noqa: S104 (only compared)
        self.names = {host.lower(), "localhost", "127.0.0.1", "::1", *self.public}
        if self.any_address:
            self.names |= {socket.gethostname().lower(), socket.getfqdn().lower()}
        self.arriving = 0  # bytes of uploads in progress

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on or refuse it, with security headers on every response."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":  # the page uses no websockets
            await send({"type": "websocket.close", "code": 1008})
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        headers = Headers(scope=scope)
        size = int(headers.get("content-length", 0))
        refusal = self._refusal(scope, headers, size)
        if refusal:
            await refusal(scope, receive, send_with_headers)
            return
        self.arriving += size
        try:
            await self.app(scope, receive, send_with_headers)
        finally:
            self.arriving -= size

    def _refusal(self, scope: Scope, headers: Headers, size: int) -> PlainTextResponse | None:
        """Return the response to a refused request, else None."""
        uploading = scope["path"] == UPLOAD
        if not self._is_served(headers) or not _is_needed(scope["path"]):
            return PlainTextResponse(REFUSED, 403)
        if "transfer-encoding" in headers:
            return PlainTextResponse("The request has no Content-Length.", 411)
        if size > MAX_BODY + uploading * MAX_BYTES:
            return PlainTextResponse(f"The request is too large: a picture may have {MAX_BYTES // 2**20} MiB.", 413)
        if uploading and not make_room(self.arriving + size):
            return PlainTextResponse("The demo keeps too many pictures at present; try again in ten minutes.", 507)
        return None

    def _is_served(self, headers: Headers) -> bool:
        """Check that Host names this server, and that Origin, if sent, is its own page."""
        host = headers.get("host", "")
        try:
            name = urlsplit(f"//{host}").hostname or ""
            origin = urlsplit(headers.get("origin", f"//{host}"))
            if origin.netloc != host and origin.hostname not in self.public:
                return False
            return name in self.names or (self.any_address and bool(ipaddress.ip_address(name)))
        except ValueError:
            return False


def _is_needed(path: str) -> bool:
    """Check that the page uses the path, and that a file in it is an upload or a cutout."""
    if not SERVED.fullmatch(path):
        return False
    if path.startswith(FILE):
        try:
            uploaded(path.removeprefix(FILE))
        except ValueError:
            return False
    return True

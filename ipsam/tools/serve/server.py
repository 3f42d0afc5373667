"""HTTP server of a model: limits, queue, health and metrics."""

import asyncio
import logging
import re
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Annotated, Any
from uuid import uuid4

from pydantic import Field

from ipsam import __version__
from ipsam.data.user_images import TooManyPixelsError
from ipsam.engine.inference.base import BasePredictor
from ipsam.tools.serve.answers import MEDIA, Answers, Asked, Format, Kind
from ipsam.tools.serve.batcher import Batcher
from ipsam.utils.options import Options

ID = re.compile(r"[\w.-]{1,64}")  # of a request; any other is replaced
NUM_THREADS = 2  # that decode and encode the images of a batch
RECEIVE_TIMEOUT = 30.0  # seconds for a request's body
STOP_TIMEOUT = 60  # seconds for the requests that are there when the server stops
BODY = {"content": {"image/*": {"schema": {"type": "string", "format": "binary"}}}, "required": True}
RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/png": {}, "application/json": {}}, "description": "PNG, or an object with the mask"},
    400: {"description": "the body is no image, or a broken one"},
    408: {"description": f"the body took longer than {RECEIVE_TIMEOUT:.0f} s"},
    413: {"description": "the image has too many bytes or pixels"},
    503: {"description": "too many requests wait; Retry-After says in how many seconds to try again"},
}

logger = logging.getLogger(__name__)


class Limits(Options):
    """Limits of a server; configs/serve.yaml explains each key and holds its default."""

    batch_size: int = Field(ge=1, le=1024)
    max_waiting: int = Field(ge=1, le=100_000)
    max_megabytes: float = Field(gt=0, le=1000)
    max_megapixels: float = Field(gt=0, le=1000)

    @property
    def max_bytes(self) -> int:
        """Bytes of an image."""
        return round(self.max_megabytes * 1e6)


def require_fastapi() -> None:
    """Raise ImportError if a package of the extra is missing."""
    try:
        import fastapi  # noqa: F401 (these only test the import)
        import prometheus_client  # noqa: F401
        import pycocotools  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise ImportError(f"ipsam serve needs {error.name}: pip install -e '.[serve]'") from error


class Metrics:
    """Prometheus metrics of one server."""

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        self.registry = CollectorRegistry()
        own: dict[str, Any] = {"registry": self.registry, "namespace": "ipsam"}
        self.requests = Counter("requests", "Requests for a mask by status", ["status"], **own)
        self.seconds = Histogram("request_seconds", "Seconds from a request to its response", **own)
        self.batches = Histogram("batch_images", "Images of a forward pass", buckets=[1, 2, 4, 8, 16, 32, 64], **own)
        self.waiting = Gauge("waiting_requests", "Requests that are received, wait or are predicted", **own)


def build_app(
    predictor: BasePredictor, *, title: str, about: str, limits: Limits, hosts: Sequence[str] = ("*",)
) -> Any:
    """Build the FastAPI application; its lifespan ends the thread of the model.

    Args:
        predictor: the model.
        title, about: its name, and a sentence on its training data.
        limits: what the server takes on.
        hosts: names that requests may ask for; ``*``: any.
    """
    from fastapi import FastAPI, HTTPException, Query, Request, Response
    from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.requests import ClientDisconnect

    metrics = Metrics()
    answers = Answers(predictor, max_pixels=round(limits.max_megapixels * 1e6), num_threads=NUM_THREADS)
    batcher: Batcher[Asked, bytes] = Batcher(answers, batch_size=limits.batch_size, observe=metrics.batches.observe)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        batcher.close()

    app = FastAPI(title=title, description=about, version=__version__, lifespan=lifespan)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False)
    num_waiting = 0

    async def body_of(request: Request) -> bytes:
        too_large = HTTPException(413, f"the image exceeds the limit of {limits.max_bytes:,} bytes")
        if int(request.headers.get("content-length", 0)) > limits.max_bytes:
            raise too_large
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > limits.max_bytes:
                raise too_large
        return bytes(body)

    async def answer(request: Request, **asked: Any) -> bytes:
        try:
            body = await asyncio.wait_for(body_of(request), RECEIVE_TIMEOUT)
            return await asyncio.wrap_future(batcher.submit(Asked(body, **asked)))
        except ClientDisconnect:
            raise HTTPException(400, "the connection ended within the image") from None
        except asyncio.TimeoutError:
            raise HTTPException(408, f"the image took longer than {RECEIVE_TIMEOUT:.0f} seconds to arrive") from None
        except TooManyPixelsError as error:
            raise HTTPException(413, str(error)) from None
        except ValueError as error:
            raise HTTPException(400, str(error)) from None

    @app.middleware("http")
    async def observe(request: Request, call: Any) -> Response:
        given = request.headers.get("x-request-id", "")
        request_id = given if ID.fullmatch(given) else uuid4().hex
        start, status = asyncio.get_running_loop().time(), 500
        try:
            response: Response = await call(request)
            status = response.status_code
        except Exception:
            logger.exception("request %s failed", request_id)
            response = Response('{"detail":"the prediction failed"}', 500, media_type="application/json")
        if request.url.path == "/predict":
            seconds = asyncio.get_running_loop().time() - start
            metrics.requests.labels(status).inc()
            metrics.seconds.observe(seconds)
            logger.info("%s %d %.3f s", request_id, status, seconds)
        response.headers["X-Request-ID"] = request_id
        return response

    @app.post("/predict", responses=RESPONSES, response_class=Response, openapi_extra={"requestBody": BODY})
    async def predict(
        request: Request,
        format: Annotated[Format, Query(description="PNG; JSON with the PNG in base64; or COCO's run lengths")] = "png",
        kind: Annotated[Kind, Query(description="of the picture")] = "mask",
        threshold: Annotated[float, Query(gt=0, lt=1, description="probability from which a pixel is object")] = 0.5,
    ) -> Response:
        """Draw the mask of the image in the body: JPEG, PNG, WebP, BMP or TIFF."""
        nonlocal num_waiting
        if num_waiting >= limits.max_waiting:
            wait = {"Retry-After": str(batcher.seconds_for(num_waiting))}
            raise HTTPException(503, f"{num_waiting} requests wait already; try again later", wait)
        num_waiting += 1
        metrics.waiting.set(num_waiting)
        try:
            content = await answer(request, format=format, kind=kind, threshold=threshold)
        finally:
            num_waiting -= 1
            metrics.waiting.set(num_waiting)
        return Response(content, media_type=MEDIA[format])

    @app.get("/health")
    async def health() -> dict[str, Any]:
        """Describe the model; 503 if it has ended."""
        if not batcher.is_alive():
            raise HTTPException(503, "the model's thread has ended")
        size = {"image_size": predictor.image_size, "device": predictor.device_type}
        return {"status": "ok", "model": title, "version": __version__, "waiting": num_waiting, **size}

    @app.get("/metrics", response_class=Response)
    async def report() -> Response:
        """Return Prometheus metrics."""
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    return app


@contextmanager
def serving(app: Any, *, host: str, port: int) -> Iterator[str]:
    """Serve an application while the context is open, and yield its address; answer at the end those who wait.

    Raises:
        OSError: the server does not start.
    """
    import uvicorn

    options: dict[str, Any] = {"log_config": None, "access_log": False, "timeout_graceful_shutdown": STOP_TIMEOUT}
    server = uvicorn.Server(uvicorn.Config(app, host=host, port=port, server_header=False, **options))
    thread = threading.Thread(target=server.run, name="http")
    thread.start()
    try:
        while not server.started:
            thread.join(0.05)
            if not thread.is_alive():
                raise OSError(f"host={host} port={port}: the server did not start; its log says why")
        yield f"http://{host}:{port}"
    finally:
        server.should_exit = True
        thread.join()

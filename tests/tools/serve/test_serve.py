"""The server answers each image with its own mask, within its limits."""

import base64
import io
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ipsam.data.synthetic.scenes import camouflaged_scene
from ipsam.engine.inference.predictor import Predictor
from ipsam.tools.serve import Limits, build_app, serving
from ipsam.tools.serve.batcher import Batcher
from ipsam.utils.serving import free_port

testclient = pytest.importorskip("starlette.testclient")
pytest.importorskip("prometheus_client")
coco = pytest.importorskip("pycocotools.mask")

LIMITS = Limits(batch_size=4, max_waiting=3, max_megabytes=0.05, max_megapixels=0.01)
SCENES = [
    camouflaged_scene(np.random.default_rng(seed), size=48, difficulty=0.1).image[: 30 + seed] for seed in range(8)
]


def encoded(image: Any) -> bytes:
    content = io.BytesIO()
    Image.fromarray(image).save(content, "PNG")
    return content.getvalue()


def opened(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image)


@pytest.fixture
def client(predictor: Predictor) -> Iterator[Any]:
    app = build_app(predictor, title="micro", about="", limits=LIMITS, hosts=["localhost"])
    with testclient.TestClient(app, base_url="http://localhost") as client:
        yield client


@pytest.mark.filterwarnings("ignore:__array__ implementation")  # pycocotools'
def test_png_json_and_rle_hold_the_mask(predictor: Predictor, client: Any) -> None:
    image, body = SCENES[0], encoded(SCENES[0])
    expected = predictor.predict(image)
    answer = client.post("/predict", content=body, headers={"X-Request-ID": "mine-1"})
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["x-request-id"] == "mine-1"
    assert np.array_equal(opened(answer.content) > 0, expected.mask)
    threshold = float(np.quantile(expected.prob, 0.7))
    answer = client.post(f"/predict?format=rle&threshold={threshold}", content=body).json()
    assert np.array_equal(coco.decode(answer["segmentation"]) > 0, expected.prob >= np.float32(threshold))
    answer = client.post("/predict?format=json&kind=map", content=body, headers={"X-Request-ID": "a\tb"})
    assert len(answer.headers["x-request-id"]) == 32
    assert np.array_equal(opened(base64.b64decode(answer.json()["map"])), expected.map)
    assert client.get("/health").json()["status"] == "ok"
    assert 'ipsam_requests_total{status="200"} 3.0' in client.get("/metrics").text
    assert "image/*" in str(client.get("/openapi.json").json()["paths"]["/predict"])


def test_hostile_requests_are_refused(client: Any) -> None:
    body = encoded(SCENES[0])
    large = encoded(np.zeros((101, 100, 3), np.uint8))
    for content, status in ((b"", 400), (b"hello", 400), (body[:200], 400), (large, 413), (bytes(50_001), 413)):
        answer = client.post("/predict", content=content)
        assert answer.status_code == status, answer.text
        assert "Traceback" not in answer.text
    assert client.post("/predict", content=iter([bytes(30_000)] * 2)).status_code == 413  # without a Content-Length
    assert client.post("/predict?threshold=2", content=body).status_code == 422
    assert client.post("/predict", content=body, headers={"Host": "evil.example"}).status_code == 400
    assert client.post("/predict", content=body).status_code == 200


def test_full_queue_says_when_to_try_again(predictor: Predictor, client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    go, predict = threading.Event(), predictor.predict
    monkeypatch.setattr(predictor, "predict", lambda *a, **k: go.wait(20) and predict(*a, **k))
    with ThreadPoolExecutor(LIMITS.max_waiting) as pool:
        answers = [pool.submit(client.post, "/predict", content=encoded(image)) for image in SCENES[:3]]
        while client.get("/health").json()["waiting"] < LIMITS.max_waiting:
            time.sleep(0.01)
        refused = client.post("/predict", content=encoded(SCENES[3]))
        go.set()
        masks = [opened(one.result().content) for one in answers]
    assert refused.status_code == 503
    assert int(refused.headers["retry-after"]) >= 1
    assert [mask.shape for mask in masks] == [image.shape[:2] for image in SCENES[:3]]


def test_jobs_that_wait_are_one_batch() -> None:
    first, batches = threading.Event(), []

    def work(batch: Any) -> list[Any]:
        batches.append(list(batch))
        first.wait(5)
        if 9 in batch:
            raise RuntimeError("lost")
        return [ValueError("odd") if job % 2 else 10 * job for job in batch]

    batcher: Batcher[int, int] = Batcher(work, batch_size=3)
    futures = [batcher.submit(0)]
    while not batches:
        time.sleep(0.001)
    futures += [batcher.submit(job) for job in (1, 2, 3, 4, 9)]
    first.set()
    batcher.close()  # answers all
    assert batches == [[0], [1, 2, 3], [4, 9]]
    assert [type(one.exception()).__name__ if one.exception() else one.result() for one in futures] == [
        *(0, "ValueError", 20, "ValueError"),
        *("RuntimeError", "RuntimeError"),
    ]
    assert not batcher.is_alive()


@pytest.mark.slow
def test_16_clients_get_their_own_masks_even_as_the_server_stops(predictor: Predictor) -> None:
    import requests

    limits = Limits(batch_size=8, max_waiting=64, max_megabytes=1, max_megapixels=1)
    app = build_app(predictor, title="micro", about="", limits=limits)
    expected = [predictor.predict(image).map for image in SCENES]
    host, port = "127.0.0.1", free_port("127.0.0.1", 0)

    def ask(number: int) -> bool:
        url = f"http://{host}:{port}/predict?kind=map"
        answer = requests.post(url, data=encoded(SCENES[number % 8]), timeout=30, headers={"X-Request-ID": str(number)})
        found = opened(answer.content).astype(int)
        close = np.abs(found - expected[number % 8]).max() <= 1  # batches round differently
        return answer.headers["X-Request-ID"] == str(number) and bool(close)

    with ThreadPoolExecutor(16) as pool:
        with serving(app, host=host, port=port):
            assert all(pool.map(ask, range(120)))
            last = [pool.submit(ask, number) for number in range(16)]
            while not any(one.done() for one in last):
                time.sleep(0.001)
        assert [one.exception() or one.result() for one in last].count(True) >= 8  # the others had not connected

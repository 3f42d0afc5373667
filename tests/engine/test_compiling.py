"""``torch.compile`` gives the same, and keeps what it made."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from training import fit, model_of

from ipsam.data import TrainSet
from ipsam.engine.predictor import Predictor
from ipsam.model import LoRA

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler"),
    pytest.mark.filterwarnings("ignore"),  # the compiler's own
]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    monkeypatch.setenv("IPSAM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "compiled"


def test_the_same_prediction(cache: Path, untyped: None) -> None:
    """Of a small part of the model, as the compiler takes minutes for all of it."""
    image, parts = torch.rand(3, 50, 70), {"self_prompt": False, "lateral": False, "refine": False}
    plain, compiled = (Predictor(model_of(0, **parts), image_size=64, device="cpu", compile=on) for on in (False, True))
    one, other = (predictor.predict(image) for predictor in (plain, compiled))
    torch.testing.assert_close(torch.from_numpy(one.prob), torch.from_numpy(other.prob), rtol=0, atol=1e-5)
    assert any(cache.rglob("*.so"))


def test_the_same_training(
    tmp_path: Path, make_settings: Any, train_set: TrainSet, untyped: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the whole model, with blocks that are computed again, but without the minutes that C++ takes."""
    compile_whole = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda *a, **options: compile_whole(*a, **options, backend="aot_eager"))
    lora = LoRA(rank=4)
    settings = make_settings(compile=True, activation_checkpointing=True)
    plain = fit(model_of(1, lora=lora), train_set, tmp_path / "one", make_settings()).state_dict()
    compiled = fit(model_of(1, lora=lora), train_set, tmp_path / "two", settings).state_dict()
    assert compiled.keys() == plain.keys()
    for key, tensor in plain.items():
        if not key.endswith("k_proj.bias"):  # without any effect, so that rounding alone moves it
            torch.testing.assert_close(compiled[key], tensor, rtol=1e-3, atol=1e-4)

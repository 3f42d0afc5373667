"""``torch.compile`` changes no result, and its cache is kept."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from support.training import model_of
from torch import nn

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


@pytest.fixture
def without_cpp(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compile whole models, except for the C++ that would take minutes."""
    compile_whole = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda *a, **options: compile_whole(*a, **options, backend="aot_eager"))


COMPILES = """
import torch
from torch import nn
from torch._dynamo.utils import counters
from ipsam.utils.device import compile_model

class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x):
        return nn.functional.gelu(self.linear(x)) + 1

torch.manual_seed(0)
module, inputs = Layer().requires_grad_(False), torch.randn(2, 4)
plain = module(inputs)
compile_model(module)
torch.testing.assert_close(module(inputs), plain)
print(counters["inductor"]["fxgraph_cache_miss"], counters["inductor"]["fxgraph_cache_hit"])
"""


def test_next_process_uses_the_cache(cache: Path) -> None:
    command = [sys.executable, "-c", COMPILES]
    first, second = (subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(2))
    assert (first, second) == ("1 0\n", "0 1\n")
    assert any(cache.rglob("*.so"))


@pytest.mark.usefixtures("without_cpp", "untyped")
def test_compiled_training_with_recomputed_blocks_agrees(train: Any) -> None:
    plain, compiled = (
        train(name, model=model_of(1, lora=LoRA(rank=4)), **settings).state_dict()
        for name, settings in (("one", {}), ("two", {"compile": True, "activation_checkpointing": True}))
    )
    assert compiled.keys() == plain.keys()
    for key, tensor in plain.items():
        if not key.endswith("k_proj.bias"):  # has no effect: only rounding moves it
            torch.testing.assert_close(compiled[key], tensor, rtol=1e-3, atol=1e-4)

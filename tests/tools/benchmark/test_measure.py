"""Timing, peak memory, FLOPs by part, and the report."""

import pytest
import torch
from support.builders import DIM, micro_model
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from ipsam.tools.benchmark.inputs import forward_pass
from ipsam.tools.benchmark.measure import bytes_of, peak_memory, report, side_by_side
from ipsam.tools.benchmark.scaling import (
    REST,
    WHOLE,
    flops_of_parts,
    seconds_of_parts,
    top_operators,
)

CPU = torch.device("cpu")
MILLION = 4_000_000  # bytes of a million floats
SIZE = 64


def floats() -> torch.Tensor:
    return torch.empty(1000, 1000)


def test_tasks_take_turns_after_a_first_call() -> None:
    calls: list[str] = []
    taken = side_by_side({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, repeats=2)
    assert calls == ["a", "b", "a", "b", "a", "b"]
    assert list(taken) == ["a", "b"]


def test_report_has_tables_notes_and_environment() -> None:
    text, data = report([[{"way": "a", "ms": 12345.6}, {"way": "b", "ms": 0.98765, "GB": 2.0}]], "A note.", "numpy")
    assert [line.replace(" ", "") for line in text.splitlines()[2:4]] == ["|a|12346||", "|b|0.988|2|"]
    assert data["environment"].keys() == {"machine", "python", "numpy"}
    assert f"A note.\nmachine {data['environment']['machine']}" in text
    assert data["tables"][0][1] == {"way": "b", "ms": 0.98765, "GB": 2.0}


def test_peak_memory_is_the_highest_sum_at_a_time() -> None:
    def two_at_a_time() -> None:
        first = floats()
        second = first.clone()
        del first
        third = second.clone()
        del second, third

    assert peak_memory(two_at_a_time, CPU) == pytest.approx(2 * MILLION, rel=1e-3)
    assert bytes_of(nn.Linear(9, 10)) == 4 * 100


def test_peak_memory_of_a_backward_pass_is_counted_by_hand() -> None:
    """Three sigmoids and the ones exist when the backward pass begins; its second step reads the first's result."""
    image = floats().normal_().requires_grad_()

    def step() -> None:
        hidden = image
        for _ in range(3):
            hidden = hidden.sigmoid()
        hidden.backward(torch.ones_like(hidden))

    assert peak_memory(step, CPU) == pytest.approx(6 * MILLION, rel=1e-3)


def test_flops_of_parts_are_those_counted_by_hand() -> None:
    model = micro_model(image_size=SIZE).eval().to("meta")
    flops = flops_of_parts(model, torch.empty(2, 3, SIZE, SIZE, device="meta"))
    names = ["trunk", "neck", "SPG", "prompt encoder", "PSG", "decoder", "lateral", "refinement", REST, WHOLE]
    assert list(flops) == names
    cells = 2 * (SIZE // 16) ** 2
    gate, fusion = 9 * DIM * 16 + 16, 9 * 2 * DIM * DIM + 9 * DIM * DIM + DIM * DIM
    assert flops["PSG"] == 2 * cells * (gate + fusion)
    assert flops["trunk"] > flops["neck"] > 0
    assert flops["lateral"] == 0
    assert 0 <= flops[REST] < 1e-3 * flops[WHOLE]  # no part is missing, and none counts twice
    assert "SPG" not in flops_of_parts(
        micro_model(self_prompt=False).to("meta"), torch.empty(1, 3, 64, 64, device="meta")
    )


def test_flops_of_attention_count() -> None:
    """torch's counter does not know the CPU's attention kernel."""
    model = micro_model(image_size=SIZE).eval().requires_grad_(False).to("meta")
    attention = model.decoder.transformer.final_attn_token_to_image
    queries, keys, width = 5, (SIZE // 16) ** 2, attention.q_proj.out_features
    tokens, image = (torch.empty(1, count, DIM, device="meta") for count in (queries, keys))
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:  # as flops_of_parts counts
        attention(tokens, image, image)
    projections = 2 * DIM * width * (2 * queries + 2 * keys)
    assert counter.get_total_flops() == projections + 2 * 2 * queries * keys * width


def test_seconds_of_parts_make_up_the_whole() -> None:
    model = micro_model(image_size=SIZE).eval()
    seconds = seconds_of_parts(model, forward_pass(model, 1, SIZE, CPU, "fp32"), repeats=1)
    whole = seconds.pop(WHOLE)
    assert sum(seconds.values()) == pytest.approx(whole)
    assert all(0 <= taken < whole for taken in seconds.values())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_operators_are_named_with_calls_and_share() -> None:
    matrix = torch.randn(256, 256)
    found = top_operators(lambda: (matrix @ matrix).relu(), CPU)
    assert found.keys() >= {"mm", "relu"}
    assert found["mm"]["calls"] == 1
    assert sum(row["share"] for row in found.values()) <= 1 + 1e-6

import torch
from support.builders import DIM, micro_model
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from ipsam.tools.benchmark.parts import REST, WHOLE, flops_of_parts, matrix_rate, parts_of, spent, top_operators

CPU = torch.device("cpu")
SIZE = 64


def test_a_counter_is_shared_out_among_parts() -> None:
    count = [0.0]

    class Adds(nn.Module):
        def __init__(self, amount: float) -> None:
            super().__init__()
            self.amount = amount

        def forward(self) -> None:
            count[0] += self.amount

    one, two, four = Adds(1), Adds(2), Adds(4)

    def run() -> None:
        for module in (one, two, four, one):
            module()
        count[0] += 10

    found = spent({"first": [one, four], "second": [two]}, run, lambda: count[0])
    assert found == {"first": 6, "second": 2, REST: 10, WHOLE: 18}
    assert not one._forward_hooks
    assert not one._forward_pre_hooks


def test_every_part_of_the_model_is_there() -> None:
    names = list(parts_of(micro_model()))
    assert names == ["trunk", "neck", "SPG", "prompt encoder", "PSG", "decoder", "lateral", "refinement"]
    assert "SPG" not in parts_of(micro_model(self_prompt=False))


def test_operations_are_those_counted_by_hand() -> None:
    model = micro_model(image_size=SIZE).eval().to("meta")
    flops = flops_of_parts(model, torch.empty(2, 3, SIZE, SIZE, device="meta"))
    cells = 2 * (SIZE // 16) ** 2
    gate = 9 * DIM * 16 + 16
    fusion = 9 * 2 * DIM * DIM + 9 * DIM * DIM + DIM * DIM
    assert flops["PSG"] == 2 * cells * (gate + fusion)
    assert flops["trunk"] > flops["neck"] > 0
    assert flops["lateral"] == 0
    assert 0 <= flops[REST] < 1e-3 * flops[WHOLE]  # nearly all is in some part, and in none twice


def test_operations_of_attention_count() -> None:
    """Which torch's counter passes over in the kernel for CPUs."""
    model = micro_model(image_size=SIZE).eval().to("meta")
    attention = model.decoder.transformer.final_attn_token_to_image
    queries, keys, width = 5, (SIZE // 16) ** 2, attention.internal_dim
    tokens, image = (torch.empty(1, count, DIM, device="meta") for count in (queries, keys))
    model.requires_grad_(False)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        attention(tokens, image, image)
    projections = 2 * DIM * width * (2 * queries + 2 * keys)
    assert counter.get_total_flops() == projections + 2 * 2 * queries * keys * width


def test_operators_are_named_with_their_share() -> None:
    matrix = torch.randn(256, 256)
    first, *_ = found = top_operators(lambda: (matrix @ matrix).relu(), device=CPU)
    assert {row["operator"] for row in found} >= {"mm", "relu"}
    assert first["calls"] == 1
    assert sum(row["share"] for row in found) <= 1 + 1e-6


def test_a_product_has_a_rate() -> None:
    assert matrix_rate(CPU, precision="fp32", repeats=1, side=64) > 0

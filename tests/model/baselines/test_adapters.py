"""SAM-Adapter and SAM2-Adapter: high frequencies, and prompts before each block."""

import numpy as np
import torch

from ipsam.model.baselines import SAM, SAM2, HieraAdapter, ViTAdapter
from ipsam.model.baselines.vit_adapter import high_pass


def test_high_pass_is_numpys() -> None:
    image = torch.randn(2, 3, 32, 48)
    spectrum = np.fft.fftshift(np.fft.fft2(image.double().numpy()), axes=(-2, -1))
    half = int((32 * 48 * 0.25) ** 0.5 / 2)
    spectrum[..., 16 - half : 16 + half, 24 - half : 24 + half] = 0
    expected = np.abs(np.fft.ifft2(np.fft.ifftshift(spectrum, axes=(-2, -1))).real)
    np.testing.assert_allclose(high_pass(image).numpy(), expected, atol=1e-5)


def zero(module: torch.nn.Module, ending: str) -> None:
    for name, parameter in module.named_parameters():
        if f".{ending}." in f".{name}":
            torch.nn.init.zeros_(parameter)


@torch.no_grad()
def test_zero_vit_adapter_changes_nothing() -> None:
    torch.manual_seed(1)
    plain = SAM("micro", image_size=64).eval()
    torch.manual_seed(1)
    adapted = SAM("micro", image_size=64, adapter=ViTAdapter(scale_factor=8)).eval()
    image = torch.randn(2, 3, 64, 64)
    assert not torch.allclose(adapted.encode(image).embedding, plain.encode(image).embedding)
    zero(adapted.model.vision_encoder, "up")
    assert torch.equal(adapted.encode(image).embedding, plain.encode(image).embedding)


@torch.no_grad()
def test_zero_hiera_adapter_changes_nothing() -> None:
    torch.manual_seed(1)
    plain = SAM2("micro", image_size=64).eval()
    torch.manual_seed(1)
    adapted = SAM2("micro", image_size=64, adapter=HieraAdapter(scale_factor=8)).eval()
    image = torch.randn(2, 3, 64, 64)
    levels = [(features.embedding, *features.high_res) for features in (adapted.encode(image), plain.encode(image))]
    assert not any(torch.allclose(one, other) for one, other in zip(*levels, strict=True))
    zero(adapted.model.image_encoder.trunk, "up")
    features, expected = adapted.encode(image), plain.encode(image)
    assert torch.equal(features.embedding, expected.embedding)
    assert all(torch.equal(one, other) for one, other in zip(features.high_res, expected.high_res, strict=True))


def cosine(one: torch.Tensor, other: torch.Tensor) -> float:
    return torch.nn.functional.cosine_similarity(one.flatten(), other.flatten(), dim=0).item()


@torch.no_grad()
def test_a_fresh_adapter_changes_little() -> None:
    """Training starts from the pretrained features."""
    image = torch.randn(2, 3, 64, 64)
    outputs = []
    for adapters in ((None, None), (ViTAdapter(scale_factor=8), HieraAdapter(scale_factor=8))):
        torch.manual_seed(1)
        sam = SAM("micro", image_size=64, adapter=adapters[0]).eval()
        torch.manual_seed(1)
        sam2 = SAM2("micro", image_size=64, adapter=adapters[1]).eval()
        outputs.append((sam.encode(image).embedding, sam2.encode(image).embedding))
    for plain, adapted in zip(*outputs, strict=True):
        assert cosine(plain, adapted) > 0.99

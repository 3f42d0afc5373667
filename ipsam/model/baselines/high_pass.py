"""The high-frequency components of an image, as SAM-Adapter and SAM2-Adapter read them."""

import torch
from jaxtyping import Float
from torch import Tensor


def high_pass(image: Float[Tensor, "b 3 H W"], *, rate: float = 0.25) -> Float[Tensor, "b 3 H W"]:
    """Magnitude of what is left of an image without its low frequencies.

    Args:
        image: (b, 3, H, W).
        rate: share of the spectrum that is removed: a square of ``rate * H * W`` around the zero frequency.
    """
    height, width = image.shape[-2:]
    half = int((height * width * rate) ** 0.5 / 2)
    spectrum = torch.fft.fftshift(torch.fft.fft2(image.float(), norm="forward"), dim=(-2, -1))
    spectrum[..., height // 2 - half : height // 2 + half, width // 2 - half : width // 2 + half] = 0
    kept = torch.fft.ifft2(torch.fft.ifftshift(spectrum, dim=(-2, -1)), norm="forward")
    magnitude: Tensor = kept.real.abs()
    return magnitude

"""A straightforward training loop and data set, the peers of ``ipsam.engine.train.trainer`` and ``ipsam.data``."""

from collections.abc import Sequence
from time import time

import torch
import torchvision.transforms as T
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler

from ipsam.data.decoding.limits import FORMATS
from ipsam.data.items import name_of
from ipsam.data.pairs import Pair
from ipsam.engine.runs.settings import Settings
from ipsam.engine.train.losses import ipsam_loss
from ipsam.utils.imagenet import MEAN, STD


class PlainPairs(Dataset[tuple[Tensor, Tensor]]):
    """Pairs on disk, read by Pillow and torchvision's transforms.

    Args:
        pairs: the files.
        image_size: side of the square that images and masks are resized to.
        hflip: probability of a horizontal flip.
    """

    def __init__(self, pairs: Sequence[Pair], *, image_size: int, hflip: float = 0.0) -> None:
        size = (image_size, image_size)
        self.pairs, self.hflip = pairs, hflip
        self.resize, self.resize_mask = T.Resize(size), T.Resize(size, T.InterpolationMode.NEAREST)
        self.to_tensor, self.normalise = T.ToTensor(), T.Normalize(MEAN, STD)

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        pair = self.pairs[index]
        image = self.resize(Image.open(name_of(pair.image), formats=FORMATS).convert("RGB"))  # noqa: TID251 (timed)
        mask = self.resize_mask(Image.open(name_of(pair.mask), formats=FORMATS).convert("L"))  # noqa: TID251 (timed)
        if self.hflip and torch.rand(()) < self.hflip:
            image, mask = (one.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for one in (image, mask))
        return self.normalise(self.to_tensor(image)), self.to_tensor(mask)


def train_straightforwardly(
    model: nn.Module, pairs: PlainPairs, *, order: Sampler[int], device: torch.device, settings: Settings
) -> list[tuple[float, float]]:
    """Train for an epoch; return time and loss of each step that ``settings.log_every`` logs.

    Args:
        model: trained in place; peft's own layers compute LoRA.
        pairs: training data.
        order: order of the pairs.
        device: where to compute.
        settings: batch size, precision, learning rates, weight decay, clipping and loss weights.
    """
    model.to(device).train()
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    loader = DataLoader(pairs, batch_size=settings.batch_size, sampler=order)
    optimizer = torch.optim.AdamW(trainable, weight_decay=settings.weight_decay, fused=False, foreach=False)
    logged = []
    for step, (image, mask) in enumerate(loader):
        for group in optimizer.param_groups:
            group["lr"] = settings.lr_at(step, len(loader))
        with torch.autocast(device.type, torch.bfloat16, enabled=settings.bf16):
            outputs = model(image.to(device))
            loss = ipsam_loss(outputs, mask.to(device), settings.loss, settings.terms)["total"]
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(trainable, settings.clip)
        optimizer.step()
        optimizer.zero_grad()
        value = loss.item()  # at every step, as straightforward loops do
        if (step + 1) % settings.log_every == 0:
            logged.append((time(), value))
    return logged

"""U-Net decoder on a trunk of timm's: a plain network, for the worth of prompts on the same backbone."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from ipsam.model.backbones.timm import TimmBackbone
from ipsam.model.layers import conv3x3
from ipsam.model.segmenter import IPSAMOutput, Segmenter


class UNet(Segmenter):
    """Trunk, and segmentation_models_pytorch's U-Net decoder with skips from strides 16, 8 and 4.

    Args:
        backbone: only its trunk is used, trained as a whole.
        channels: widths of the decoder at strides 16, 8, 4 and 1.

    Raises:
        ImportError: segmentation_models_pytorch is not installed.
    """

    def __init__(self, backbone: TimmBackbone, *, channels: Sequence[int] = (128, 64, 32, 16)) -> None:
        super().__init__()
        try:
            from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoder
        except ImportError as error:
            raise ImportError("UNet needs segmentation_models_pytorch: pip install -e '.[unet]'") from error
        self.backbone: TimmBackbone = backbone
        del backbone.neck  # unused
        backbone.prompt_encoder = nn.Identity()  # without weights; ``resize`` sets its grid
        self.decoder = UnetDecoder((3, *backbone.channels), tuple(channels), n_blocks=len(channels))
        self.head: nn.Conv2d = conv3x3(channels[-1], 1)

    def forward(self, image: Float[Tensor, "b 3 H W"]) -> IPSAMOutput:
        """Segment images (b, 3, H, W) by mask logits (b, 1, H, W)."""
        logits = self.head(self.decoder([image, *self.backbone.encode(image)]))
        return IPSAMOutput(logits, logits)

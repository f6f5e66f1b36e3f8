"""ResNet-18 (He et al. 2016) on square pictures of crops, as two projects use it (docs/results.md).

ResNet-18 speaker project: three copies of a 224 x 224 picture, 11,279,112 parameters with 200 speakers. Voice story
report: one channel, biased convolutions, shortcuts without normalisation: 11,174,274 parameters with two classes.
"""

import urllib.request
from pathlib import Path
from typing import Any, Literal

from tonestack.base.errors import UserError
from tonestack.base.section import Section
from tonestack.networks.layers import FirstConv, Network, PoolingName, dense_head, headed
from tonestack.networks.models.timm_backbone import Maps, load_weights

import timm
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

IMAGENET = ("timm/resnet18.tv_in1k", "model.safetensors")


class Params(Section):
    """Settings; the four stages have `width`, 2, 4 and 8 times `width` channels."""

    size: int = Field(224, ge=0, description="crops are resized to size x size; 0: left as they are")
    in_channels: int = Field(3, ge=1, description="copies of the picture")
    width: int = Field(64, ge=1, description="channels of the first stage; later ones have 2, 4 and 8 times as many")
    conv_bias: bool = Field(False, description="convolutions have a bias")
    shortcut_norm: bool = Field(True, description="batch normalisation of the shortcuts' 1 x 1 convolutions")
    init: Literal["kaiming", "xavier"] = Field("kaiming", description="initial weights of the convolutions")
    pretrained: Literal["off", "try", "must"] = Field("off", description="ImageNet weights; try: where to be had")
    weights: str | None = Field(None, description="safetensors file to start from, in torchvision's names")
    pool: PoolingName = Field("avg", description="pooling over time and bands; sed: a value a class and frame")
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout before the classifier")

    @model_validator(mode="after")
    def _check_weights(self) -> "Params":
        published = self.width == 64 and self.shortcut_norm and not self.conv_bias
        if not published and (self.pretrained != "off" or self.weights):
            raise ValueError("published weights fit width 64, conv_bias false and shortcut_norm true alone")
        return self


class Picture(nn.Module):
    """Crops (B, 1, F, T) as pictures (B, copies, size, size), bilinear."""

    def __init__(self, size: int, copies: int) -> None:
        super().__init__()
        self.size, self.copies = size, copies

    def forward(self, x: Tensor) -> Tensor:
        """Resize and copy."""
        if self.size:
            x = F.interpolate(x, (self.size, self.size), mode="bilinear", align_corners=False)
        return x.expand(-1, self.copies, -1, -1)


def build(params: Params, bands: int, n_classes: int) -> Network:
    """Build the network with random weights; `pretrain` fills in published ones."""
    channels = [params.width * factor for factor in (1, 2, 4, 8)]
    backbone: Any = timm.create_model(
        "resnet18", in_chans=params.in_channels, num_classes=0, channels=channels, zero_init_last=False
    )
    _reshape(backbone, params)
    if params.in_channels == 1:
        backbone.conv1 = FirstConv.like(backbone.conv1)
    body = nn.Sequential(Picture(params.size, params.in_channels), Maps(backbone))
    head = dense_head(channels[-1], n_classes, 0, "relu", 0.0)
    network = headed(body, head, params.pool, channels[-1], n_classes)
    network.classifier[0] = nn.Dropout(params.dropout)  # type: ignore[operator, index]
    if params.init == "xavier":
        network.apply(_xavier)
    return network


def _reshape(backbone: nn.Module, params: Params) -> None:
    """Give convolutions a bias, take the shortcuts' normalisation away, as asked for."""
    for module in list(backbone.modules()):
        for name, child in module.named_children():
            if params.conv_bias and isinstance(child, nn.Conv2d):
                shape = (child.in_channels, child.out_channels, child.kernel_size, child.stride, child.padding)
                setattr(module, name, nn.Conv2d(*shape, bias=True))  # type: ignore[arg-type]
            if not params.shortcut_norm and name == "downsample":
                child[1] = nn.Identity()  # type: ignore[operator, index]


def _xavier(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.xavier_uniform_(module.weight)


def pretrain(network: Network, params: Params) -> None:
    """Start from published weights: called before the first epoch, never where a trained network is loaded."""
    backbone: Any = network.body[1].backbone  # type: ignore[index]
    if params.weights:
        load_weights(backbone, Path(params.weights), "resnet18")
    elif params.pretrained != "off":
        _imagenet(backbone, params)


def _imagenet(backbone: nn.Module, params: Params) -> None:
    try:
        load_weights(backbone, _published(), "resnet18")
    except OSError as error:
        reason = str(error).strip().splitlines()[0]
        if params.pretrained == "must":
            raise UserError(
                f"network.pretrained: the ImageNet weights of resnet18 cannot be had ({reason}); connect to the hub "
                "once, or give network.weights=FILE.safetensors, or network.pretrained=try"
            ) from None
        print(f"resnet18: from scratch, as its ImageNet weights cannot be had ({reason})")


def _published() -> Path:
    """The file of weights from the hub's cache, else from the hub (safetensors alone: a pickle could run code)."""
    from huggingface_hub import hf_hub_download, hf_hub_url
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(*IMAGENET, local_files_only=True))
    except LocalEntryNotFoundError:
        request = urllib.request.Request(hf_hub_url(*IMAGENET), method="HEAD")
        with urllib.request.urlopen(request, timeout=5):  # at once where there is no network: the hub's client waits
            return Path(hf_hub_download(*IMAGENET))

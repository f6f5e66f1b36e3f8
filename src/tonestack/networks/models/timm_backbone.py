"""Any timm backbone on one-channel spectrograms, random, pretrained, or from a safetensors file."""

from pathlib import Path
from typing import Any

from tonestack.base.errors import UserError, nearest
from tonestack.base.section import Section
from tonestack.networks import weights
from tonestack.networks.layers import BandPoolingName, Network, PoolingName, dense_head, headed

import timm
import torch
from pydantic import Field
from torch import Tensor, nn


class Params(Section):
    """Settings; `backbone` is any name of `timm.list_models()`."""

    backbone: str = Field("mobilenetv4_conv_small", description="any name of timm.list_models()")
    pretrained: bool = Field(False, description="start from timm's pretrained weights")
    weights: str | None = Field(None, description="safetensors file of this backbone's weights")
    options: dict[str, Any] = Field({}, description="further arguments of the backbone, such as channels of a resnet")
    pool: PoolingName = Field("avg", description="pooling over time and bands; sed: a value a class and frame")
    pool_bands: BandPoolingName = Field("mean", description="pooling over bands: their mean, or a generalised mean")
    dropout: float = Field(0.2, ge=0, lt=1, description="dropout before the classifier")
    drop_path: float = Field(0.0, ge=0, lt=1, description="stochastic depth")


class Maps(nn.Module):
    """A timm backbone up to its last feature maps: (B, 1, F, T) to (B, D, F', T')."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, x: Tensor) -> Tensor:
        """Return the feature maps."""
        maps: Tensor = self.backbone.forward_features(x)  # type: ignore[operator]
        return maps


def _create(params: Params, bands: int) -> Any:
    if not timm.is_model(params.backbone):
        raise UserError(f"no timm backbone is called '{params.backbone}'{nearest(params.backbone, timm.list_models())}")
    options: dict[str, Any] = {"in_chans": 1, "num_classes": 0} | params.options
    if params.drop_path:
        options["drop_path_rate"] = params.drop_path
    try:
        return timm.create_model(params.backbone, pretrained=params.pretrained, **options)
    except TypeError as error:
        raise UserError(f"network.options: {error}") from None
    except (OSError, RuntimeError, ValueError) as error:
        if not params.pretrained:
            raise
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"network.pretrained: the weights of '{params.backbone}' cannot be had ({reason}); "
            "connect to the hub once, or give network.weights=FILE.safetensors, or network.pretrained=false"
        ) from None


@torch.no_grad()
def _try(backbone: Any, params: Params, bands: int) -> None:
    """Send one small map through; a backbone that needs pictures of one size is refused here, not in training."""
    backbone.eval()
    maps: Any = None
    try:
        maps = backbone.forward_features(torch.zeros(1, 1, bands, 64))
    except (AssertionError, RuntimeError, ValueError) as error:
        fault = str(error).strip().splitlines()[0]
    else:
        fault = "" if maps.dim() == 4 and maps.shape[1] == backbone.num_features else "it gives no feature maps"
    if fault:
        raise UserError(
            f"network.backbone: '{params.backbone}' takes no spectrograms of {bands} bands and any length ({fault}); "
            "choose a convolutional one"
        )


def load_weights(backbone: nn.Module, path: Path, name: str) -> None:
    """Load a backbone's weights; three-channel stems are summed to one, a classifier is left out."""
    try:
        given = weights.read(path)
    except UserError as error:
        raise UserError(f"network.weights: {error}") from None
    own = backbone.state_dict()
    fitted = {key: _fit(value, own[key]) for key, value in given.items() if key in own}
    wrong = sorted(set(own) - set(fitted)) + [k for k, v in fitted.items() if v.shape != own[k].shape]
    if wrong:
        raise UserError(f"network.weights: {path} does not fit '{name}': {len(wrong)} tensors differ, first {wrong[0]}")
    backbone.load_state_dict(fitted)


def _fit(given: Tensor, own: Tensor) -> Tensor:
    colour_stem = given.dim() == 4 and given.shape[1] == 3 and own.shape[1] == 1
    return given.sum(dim=1, keepdim=True) if colour_stem else given


def build(params: Params, bands: int, n_classes: int) -> Network:
    """Build the backbone with a pooling head and a linear classifier."""
    backbone = _create(params, bands)
    _try(backbone, params, bands)
    if params.weights:
        load_weights(backbone, Path(params.weights), params.backbone)
    width = int(backbone.num_features)
    head = dense_head(width, n_classes, 0, "relu", params.dropout)
    return headed(Maps(backbone), head, params.pool, width, n_classes, params.pool_bands)

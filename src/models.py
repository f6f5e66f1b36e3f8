"""List every model config: frontend, input shape, parameters and multiply-adds of one crop.

Takes configs/model/*.yaml and the words (preset=, overrides); data= gives the number of classes.
"""

from tonestack import cli
from tonestack.base import parts
from tonestack.base.console import aligned
from tonestack.config import layers
from tonestack.config.call import Call
from tonestack.networks.layers import count_multiply_adds, count_parameters

import pandas as pd
import torch

CLASSES = 41  # of FSDKaggle2018: the sizes can be compared whatever competition is at hand


def run(call: Call) -> pd.DataFrame:
    """Print the table; `model=` narrows it."""
    names = call.words.model or tuple(layers.available("model"))
    table = pd.DataFrame([describe(call, name) for name in names])
    print(f"{CLASSES} classes where no document says how many; preset {call.data.preset}")
    print(aligned(table.fillna("")))
    return table


def describe(call: Call, name: str) -> dict[str, str]:
    """One row: the network is built and one crop is sent through it."""
    settings = call.experiment(name).config
    frontend_module = parts.find("frontends", settings.frontend["name"])
    if settings.frontend.get("model", "") is None:  # a pretrained model that this call does not name
        return {"model": name, "frontend": settings.frontend["name"], "input": frontend_module.INPUT}
    module = parts.find("models", settings.network["name"])
    if settings.network.get("folder", "") is None:  # likewise
        return {"model": name, "frontend": settings.frontend["name"], "input": module.INPUT}
    frontend = frontend_module.Frontend(parts.part_params("frontends", settings.frontend, "frontend"))
    if not hasattr(module, "build"):  # not a network: its size depends on the clips
        heard = getattr(module, "INPUT", f"statistics of {frontend.width} bands")
        return {"model": name, "frontend": settings.frontend["name"], "input": heard}
    published = settings.published
    classes = published.classes if published else CLASSES
    network = module.build(parts.part_params("models", settings.network, "network"), frontend.width, classes)
    frames = round(settings.crop.seconds * frontend.frame_rate)
    shape = (1, frontend.width, frames)
    try:
        work = f"{count_multiply_adds(network, torch.zeros(1, *shape)) / 1e6:,.1f} M"
    except RuntimeError:  # a head made for crops of one length
        work = "not for crops of this length"
    return {
        "model": name,
        "frontend": settings.frontend["name"],
        "input": " x ".join(map(str, shape)),
        "classes": f"{classes:,}",
        "parameters": f"{count_parameters(network):,}",
        **({"document": f"{published.parameters:,}"} if published else {}),
        "multiply-adds": work,
        "seconds a crop": f"{settings.crop.seconds:g}",
    }


if __name__ == "__main__":
    cli.main(run, __doc__)

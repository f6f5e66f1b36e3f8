"""The autoencoder: spectrograms above their reconstructions, and its loss."""

from tonestack.report.blocks import Block, PictureBlock
from tonestack.report.material import Material

TITLE, ORDER = "Autoencoder", 110

SAID = {
    "autoencoder": "Spectrograms of some clips, above the originals, below what the autoencoder makes of them.",
    "autoencoder-loss": "Mean squared error by epoch, on training clips and on held-out clips.",
}


def blocks(material: Material) -> list[Block]:
    """Return the pictures that its training wrote."""
    found = material.pictures("autoencoder.png", "autoencoder-loss.png")
    return [PictureBlock.of(material.folder, path, SAID[path.stem], SAID[path.stem]) for path in found]

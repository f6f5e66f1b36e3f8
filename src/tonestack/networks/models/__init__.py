"""Networks: one file each, with `Params` and `build(params, bands, n_classes) -> Network`.

A network takes crops (B, 1, F, T) (waveforms: F = 1) and returns logits (B, C); see `layers.Network`.
"""

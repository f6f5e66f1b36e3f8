"""Frontends as torch modules, for export: one file each, named as the frontend whose numbers it gives.

A module has `build(params) -> nn.Module`: waves (B, N) at the frontend's sample rate -> frames (B, T, F), rounded to
the feature store's type and given back as float32, just as a network receives them.
"""

"""Merges the layers of a configuration and resolves a call: data, preset, models, folders."""

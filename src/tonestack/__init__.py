"""tonestack: from a folder of recordings and a csv to a scored submission."""

__version__ = "0.1.0"

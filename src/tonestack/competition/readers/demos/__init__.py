"""Readers of the embedded competitions: each is synthesised the first time it is read."""

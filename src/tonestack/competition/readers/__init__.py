"""Readers: one file per competition layout. Each has `Params` and `read(params, root) -> Competition`."""

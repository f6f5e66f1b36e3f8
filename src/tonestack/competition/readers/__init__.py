"""Readers: one file a competition layout. Each has `Params` and `read(params, root) -> Competition`."""

"""Training items of few-shot voice matching."""

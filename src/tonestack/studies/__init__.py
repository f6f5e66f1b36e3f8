"""Around the pipeline: tuning, published tables, repeats, plans, shift between sets of clips."""

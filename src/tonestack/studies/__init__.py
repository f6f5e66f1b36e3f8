"""Studies around the pipeline: tuning, published tables, repeats, plan and timing, shift between sets of clips."""

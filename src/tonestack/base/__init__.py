"""Files, errors, typed sections, finding parts, workers, the console: nothing here knows of audio or of tables."""

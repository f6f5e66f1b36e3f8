"""Every settings class of data and model configs, and the words of a call."""

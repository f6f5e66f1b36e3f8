"""Leaves cache/<name>/: the features of decoded audio, one folder per frontend."""

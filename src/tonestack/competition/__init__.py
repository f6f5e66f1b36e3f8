"""Reads input/: csv files, layouts, downloads and archives. Writes submission files."""

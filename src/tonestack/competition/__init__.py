"""Reads input/: csv files, layouts, downloads and archives; and the formats of submission files."""

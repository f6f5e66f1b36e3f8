"""Rules that change a finished table: by what neighbouring windows say, by the mix of classes."""

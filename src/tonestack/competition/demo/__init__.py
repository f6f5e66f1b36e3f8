"""The embedded competitions: synthesised sounds and voices."""

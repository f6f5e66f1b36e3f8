"""The tables as types and files: competition, decisions, prediction tables, votes, metrics. No audio, no torch."""

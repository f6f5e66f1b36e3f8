"""Leaves cache/<name>/: decoded audio and the frames of every frontend."""

"""Leaves exports/ and bundles/: predictions for any recording, ONNX export, inference of a bundle."""

"""Leaves exports/ and bundles/: predictions for any recording, ONNX export, inference of a bundle.

- `trained`: a finished experiment read back from oof/; `new_clips`: features of other recordings, in memory.
- `predictor`: short clips in, probabilities out; `recordings`: files of any length in, tags out; `timeline`: a picture.
- `voice_matching`: the verb `match`.
- `onnx_export` writes a model, `graphs/` has its frontends, `predict_onnx` is the script that is copied beside it.
- `bundle_inference`: the inference of an offline bundle, under a time limit.
"""

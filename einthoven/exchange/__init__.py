"""Bundles: a model with its card, out (ONNX), in (foreign ONNX), and between people (folder, WebDAV, Hub).

manifest.py   what a Bundle says of itself        bundle.py    the folder or ZIP, verified
onnx_out.py   torch to ONNX, proved equal         predict.py   Records to probabilities, without torch
shelf.py      where models are on this machine    stores/      where they are elsewhere
card.py       the manifest in words
"""

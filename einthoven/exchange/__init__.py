"""Bundles: a model with its card, out (ONNX), in (foreign ONNX), and between people (folder, WebDAV, Hub)."""

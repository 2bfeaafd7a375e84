"""ONNX files become Programs."""

"""Program → bundle: ONNX model, kernels, shared library, headers, manifest."""

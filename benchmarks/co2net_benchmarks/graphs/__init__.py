"""The content of ONNX files: layers, weights, arithmetic, branches."""

"""What an ONNX file holds: layers, weights, arithmetic, branches."""

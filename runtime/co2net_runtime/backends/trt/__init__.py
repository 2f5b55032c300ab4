"""TensorRT without ONNX Runtime. Nothing here has run on a GPU yet: see docs/runtime.md.

api        the installed TensorRT, loaded once, versions 10 and 11
profiles   optimization profiles and build options
build      ONNX -> engine
cache      engines on disk, each with a sidecar that says what it was built for
layers     what TensorRT made of the network
backend    an engine behind the Backend protocol
execution  a context with its memory, and its recorded launch
memory     memory on the GPU and pinned memory beside it
cuda       the few calls of the CUDA driver
"""

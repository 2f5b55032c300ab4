"""TensorRT without ONNX Runtime. Nothing here has run on a GPU yet: see docs/runtime.md.

api        the installed TensorRT, loaded once, versions 10 and 11
profiles   optimization profiles and build options
build      ONNX -> engine
cache      engines on disk, each with a sidecar that says what it was built for
backend    an engine behind the Backend protocol
execution  contexts, buffers, CUDA graphs
memory     buffers on the GPU and pinned ones of the CPU
cuda       the few calls of the CUDA runtime
"""

"""One artefact behind a Triton Inference Server: its model repository, its backend, its clients."""

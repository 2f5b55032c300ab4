"""One artefact behind a Triton Inference Server.

repository     an artefact -> a model in a Triton repository, which appears whole
config         the text of config.pbtxt
triton_model   the model that Triton's Python backend runs
answers        the answers to the requests of one batch; nothing here knows of Triton
client         TritonLocalizer: features -> Detections, by a server
connection     calls to a server over HTTP, tried again while it is away
probe          whether a served model infers
"""

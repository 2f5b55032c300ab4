"""`--optimize cpu`: the fp32 graph rewritten for CPUs.

cpu_graph     the rewritten graph and its branches
winograd      convolutions by Winograd's F(4, 3)
packed_rows   ragged batches without padding
graph_writer  a small builder of ONNX nodes
"""

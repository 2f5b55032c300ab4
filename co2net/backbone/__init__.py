"""The network that turns clips of pixels into feature rows, and its weights.

i3d        I3D: Inception-v1 inflated to three dimensions, the backbone of CO2-Net's features
weights    files of I3D weights, read without executing anything that they hold
identity   which of DeepMind's published weights a state dict is, by checksums
crc32c     CRC-32C of arrays, the checksum of TensorFlow's checkpoints
untrained  a small I3D of random weights, for demonstrations
"""

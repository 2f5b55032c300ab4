"""Streams to events: snippets come in, segments go out.

The mathematics:  pool, stream, steps, temporal_mean, components, row_buffer
The plumbing:     arrivals, sources, sockets, block_parser, snippet_queue, state_file, job, health
Pixels:           camera, and camera_network, the backbones that all cameras share
"""

from co2net_runtime.live.pool import Event, LiveLocalizer, LiveOptions, LivePool

__all__ = ["Event", "LiveLocalizer", "LiveOptions", "LivePool"]

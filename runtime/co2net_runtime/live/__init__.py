"""Streams to events: snippets come in, segments go out.

The mathematics:  pool, stream, steps, temporal_mean, components, row_buffer
The plumbing:     sources, snippet_queue, job
"""

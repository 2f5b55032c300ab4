"""The losses (method, section 2)."""

"""Interlock's machinery: from bytes on a wire to a delivered, accounted-for message. Start with `pipeline.py`."""

__version__ = "0.1.0"

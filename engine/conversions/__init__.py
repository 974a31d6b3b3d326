"""Conversions in processes of their own: children that are told a channel's wiring and convert what they are given.

Invariant: an attempt never records revisions that were not used, and what killed a child never runs in the engine.
"""

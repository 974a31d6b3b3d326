"""A channel's cases, run through the pure steps of the path without a store or a wire, and what differs."""

"""Connectors: one module a URL scheme, holding its source and its destination."""

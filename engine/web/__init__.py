"""The HTTP side: API, health, metrics."""

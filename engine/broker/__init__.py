"""Brokers: doorbells that carry ids only."""

"""Stores: where nothing acknowledged is ever lost from."""

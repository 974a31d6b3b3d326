"""The after-life of what could not go on, and the queues that people work."""

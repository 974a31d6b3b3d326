"""Organizations: who exists, who may send, and what has been agreed."""

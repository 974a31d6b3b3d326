"""Message formats: sniff, read, write, identify, answer. One module or package a format."""

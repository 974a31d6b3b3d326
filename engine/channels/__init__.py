"""Reading a folder of channels: TOML in, frozen wiring out, every fault with its file and line."""

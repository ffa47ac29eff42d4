"""The equations: arrays in, arrays out; one legend and one citation per file."""

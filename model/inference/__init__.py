"""The engine: cases in, token sequences out, with a fixed number of slots on one device."""

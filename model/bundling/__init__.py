"""Bundles on disk: a bundle is built, stored, loaded, and LoRA adapters are merged into it."""

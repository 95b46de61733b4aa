"""Measures how fast drafts are written, and how fast they could be: `python -m model.bench`.

It needs torch, transformers, peft, safetensors, numpy and Pillow, and of the project only `model`.
"""

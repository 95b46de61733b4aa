"""How fast drafts are written, and how fast they could be: `python -m model.bench`.

Knows the engine and transformers' `generate`, no rows and no films. Needs torch, transformers,
peft, safetensors, numpy and Pillow, and nothing else of the project but `model`.
"""

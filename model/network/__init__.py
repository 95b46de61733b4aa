"""The network ClinicalBLIP: its layers, its weights from safetensors, and its sizes."""

"""The two-stage LoRA fine-tune: configuration, stages, training loop, checkpoints, logs, ablations."""

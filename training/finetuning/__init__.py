"""The two-stage LoRA fine-tuning: settings, stages, loop, checkpoints, logs and ablations."""

"""How much device memory a stage of training takes, and which GPU it fits on."""

"""Plans the device memory of a stage of training, and finds settings that fit on a GPU."""

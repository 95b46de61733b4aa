"""One thread for the network: on a busy machine two of them mostly wait for each other."""

import torch

torch.set_num_threads(1)

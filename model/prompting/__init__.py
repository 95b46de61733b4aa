"""The text around the network: prompts from priors, report sections, and sentence confidence."""

"""The domains a base model knows, and mixtures of domains to train it with (see README.md)."""

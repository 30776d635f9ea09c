"""The twelve benchmarks of VersaTune's six domains, held-out loss by domain, and gains between models."""

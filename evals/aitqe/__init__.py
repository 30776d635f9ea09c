"""AITQE (arXiv:2410.16166): how good scores of image-text pairs are, and how far rewritten texts moved."""

"""MAET (arXiv 2410.07825; later MAEC): find an ability's weights, lift them out, add them in another language."""

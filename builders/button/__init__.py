"""BUTTON (arXiv 2410.12952): multi-turn function calling, composed, executed and checked."""

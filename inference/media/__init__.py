"""Images as models see them."""

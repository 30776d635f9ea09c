"""Tool-query: a to-do list, its tools, and a model that serves requests with them."""

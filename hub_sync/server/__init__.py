"""The embedded hub: the Hub's HTTP protocol over git objects in SQLite and content-addressed blobs."""

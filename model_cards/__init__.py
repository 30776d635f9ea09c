"""Cards rendered from provenance: valid Hub metadata, tables and plots."""

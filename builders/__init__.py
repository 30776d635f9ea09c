"""Data set builders: sources in, rows out. One folder per data set."""

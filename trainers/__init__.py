"""Trainers on TRL: data set and model in, model out. One file or folder per method."""

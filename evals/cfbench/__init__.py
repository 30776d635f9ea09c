"""CFBench: how many constraints of a prompt an answer keeps, primary and secondary ones."""

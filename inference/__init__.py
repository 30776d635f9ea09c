"""One chat client for teachers, simulators and judges."""

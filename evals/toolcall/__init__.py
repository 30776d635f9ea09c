"""Tool calls: name, arguments and restraint of an assistant with functions, scored by rule (see README.md)."""

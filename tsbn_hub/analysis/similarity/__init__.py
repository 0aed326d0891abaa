"""How alike tasks are: in the filters that they use, and in where their gradients point."""

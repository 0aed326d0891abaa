"""The command line: `tsbn`."""

"""The command line, `tsbn`: a file for each command, which imports torch and the like only when it runs."""

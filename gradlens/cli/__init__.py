"""The command line: words → a command, what it prints, and the commands themselves."""

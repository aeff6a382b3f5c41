"""The commands, one a file: a frozen dataclass whose fields are the flags. What is heavy is imported late."""

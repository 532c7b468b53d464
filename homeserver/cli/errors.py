"""What a command tells the operator when it cannot go on."""


class CommandError(Exception):
    """The command failed; the message is a sentence for the operator."""

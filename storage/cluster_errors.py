"""What keeps a private cluster from running."""


class ClusterError(Exception):
    """The private cluster cannot run; the message is a sentence for the operator."""

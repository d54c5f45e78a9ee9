"""Errors of the command, each with what to do about it in its message."""


class UsageError(ValueError):
    """Error for an unusable argument or environment variable; the message says what to use instead."""


class UnreadableFileError(ValueError):
    """Error for a file that is neither an image nor a PDF, or lacks a page that is asked for."""


class NoServerError(ConnectionError):
    """Error when no server answers; trying further files is pointless."""


class RefusedError(Exception):
    """Error for a request that the OCR API refuses; the message is the API's."""


class StoppedError(Exception):
    """Error of a document whose reading was interrupted by its reader."""

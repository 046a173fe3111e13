"""Which errors of a network may pass, and how long to wait for that."""

from __future__ import annotations

import tarfile

from fvq_core.errors import UserError

WAITS = (1.0, 2.0, 4.0, 8.0, 16.0)  # seconds before each further try
# Their errors need not be OSErrors; none of these libraries has to be installed.
NETWORK_LIBRARIES = ('aiohttp', 'botocore', 'httpcore', 'httpx', 'requests', 'urllib3')
# What no second try changes: no such file, no permission, or a folder.
LASTING = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)
REFUSALS = (400, 401, 403, 404, 405, 410)  # of HTTP


def may_pass(error: BaseException) -> bool:
    """Whether a second try may help: a lost connection, a time-out, a server that is down, a file that ends too early."""
    if isinstance(error, (*LASTING, UserError)):
        return False
    if getattr(error, 'status', None) in REFUSALS:
        return False
    library = type(error).__module__.partition('.')[0]
    return isinstance(error, OSError | tarfile.ReadError) or library in NETWORK_LIBRARIES


def reason(error: BaseException) -> str:
    """An error in one line."""
    if isinstance(error, FileNotFoundError):
        return 'there is no such file'
    return f'{type(error).__name__}: {" ".join(str(error).split())[:200]}'.rstrip(': ')

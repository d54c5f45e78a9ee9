"""API keys: read from a text or a file, compared by digest."""

import hmac
import logging
import re
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

logger = logging.getLogger(__name__)

SECRET = re.compile(r"[\x21-\x2b\x2d-\x7e]{16,512}")  # characters that a header can carry, without the comma
NAME = re.compile(r"[\w.@-]{1,64}")


@dataclass(frozen=True)
class Key:
    """One accepted key: the client it belongs to and the digest of its secret."""

    client: str
    digest: bytes  # SHA-256; the secret itself is not stored


def parse_keys(text: str) -> tuple[Key, ...]:
    """Keys as `NAME:SECRET` or `SECRET`, separated by commas or line ends; in lines, `#` begins a comment.

    A client may have several keys. Raises ValueError, whose message holds no secret.
    """
    entries = [part.strip() for line in text.splitlines() if not line.startswith("#") for part in line.split(",")]
    keys: dict[bytes, Key] = {}
    for number, entry in enumerate(filter(None, entries), 1):
        name, colon, secret = entry.partition(":")
        if not colon:
            name, secret = f"key-{number}", entry
        if not NAME.fullmatch(name):
            raise ValueError(f"The name of key {number} is none: use letters, digits and .@_- for it, at most 64")
        if not SECRET.fullmatch(secret):
            raise ValueError(
                f"Key {number} is not NAME:SECRET with a secret of 16 to 512 visible ASCII characters, as `openssl "
                "rand -hex 32` makes one"
            )
        digest = sha256(secret.encode()).digest()
        if digest in keys:
            raise ValueError(f"Key {number} has the secret of another one")
        keys[digest] = Key(name, digest)
    if not keys:
        raise ValueError("There is no key in it: use NAME:SECRET")
    return tuple(keys.values())


class Keys:
    """Accepted keys, from a text or from a file that is read again when it changes, as when secrets are rotated."""

    def __init__(self, source: str | Path) -> None:
        """Raises ValueError, OSError."""
        self._file = source if isinstance(source, Path) else None
        self._seen = self._stamp()
        self._reported = False  # the log says that the file cannot be used
        self._keys = parse_keys(source if isinstance(source, str) else source.read_text())

    def client_of(self, secret: str) -> str | None:
        """The client with this secret. Wrong secrets all take the same time: every key is compared by its digest."""
        self._refresh()
        digest = sha256(secret.encode()).digest()
        owners = [key.client for key in self._keys if hmac.compare_digest(key.digest, digest)]
        return owners[0] if owners else None

    def _stamp(self) -> tuple[int, int, int] | None:
        if self._file is None:
            return None
        status = self._file.stat()
        return status.st_mtime_ns, status.st_size, status.st_ino

    def _refresh(self) -> None:
        """An unusable file changes nothing: the earlier keys stay valid."""
        try:
            stamp = self._stamp()
            if stamp != self._seen and self._file is not None:
                self._keys = parse_keys(self._file.read_text())
                self._seen, self._reported = stamp, False
                logger.info("The keys were read again: there are %d.", len(self._keys))
        except (OSError, ValueError) as error:
            if not self._reported:
                logger.error("The keys cannot be read again, and stay as they were: %s", error)
            self._reported = True

"""How much a server takes at a time."""

from dataclasses import dataclass

from smallset.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What is refused, so that no request can take the memory or the time of all others.

    Raises:
        ConfigError: If a limit is out of range, or contradicts another.
    """

    max_mb: float = 32.0
    """Of a request, in 10^6 bytes."""
    max_image_mb: float = 16.0
    """Of a picture."""
    max_megapixels: float | None = None
    """Of a picture, in millions of pixels; None takes what the run took."""
    max_images: int = 64
    """Of a request."""
    max_waiting: int = 256
    """Pictures that wait for an answer, of all requests; more are told to come back (503)."""

    def __post_init__(self) -> None:
        for name in ("max_mb", "max_image_mb", "max_megapixels", "max_images", "max_waiting"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"--{name.replace('_', '-')} must be above 0, got {value:g}")
        if self.max_waiting < self.max_images:
            raise ConfigError(
                f"--max-waiting {self.max_waiting} leaves no room for a request of "
                f"--max-images {self.max_images}"
            )

    @property
    def request_bytes(self) -> int:
        """Of a request with several pictures."""
        return int(1e6 * self.max_mb)

    @property
    def image_bytes(self) -> int:
        """Of a picture."""
        return min(int(1e6 * self.max_image_mb), self.request_bytes)

    @property
    def held_bytes(self) -> int:
        """Of all requests that are being received or answered; more are told to come back."""
        return 8 * self.request_bytes

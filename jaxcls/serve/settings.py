"""What a service keeps to: limits, keys, who may ask; plain values that every worker gets."""

import dataclasses

from jaxcls.errors import UserError


@dataclasses.dataclass(frozen=True)
class Settings:
    """Limits of one service; sizes in bytes, times in seconds.

    Attributes:
      max_bytes: of the body of a request.
      max_pixels: of a picture, by its header.
      max_pictures: of a request.
      timeout: for the answer, counted from the moment at which the request is there.
      queue: pictures that a worker has taken on and not answered; more are told to come later (503).
      keys: SHA-256 of each API key (`keys.read`); none: everybody may ask.
      origins: of web pages elsewhere that may ask (CORS); "*" for all.
      hosts: names beside those of this machine by which it may be called; "*" for any, "*.example.com" for those below.
      feedback: the folder of what users say about answers; None: none is taken.
      feedback_max_bytes: that it may hold.
      reload_every: between looks for newer weights; 0: never.
      top: classes that are listed where a request does not say how many.
    """

    max_bytes: int = 32 * 2**20
    max_pixels: int = 50_000_000
    max_pictures: int = 64
    timeout: float = 30.0
    queue: int = 256
    keys: tuple[bytes, ...] = ()
    origins: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    feedback: str | None = None
    feedback_max_bytes: int = 2**30
    reload_every: float = 10.0
    top: int = 5

    def check(self) -> None:
        """Raises UserError for what does not go together."""
        if self.queue < self.max_pictures:
            raise UserError(
                f"--queue {self.queue} has no room for a request of --max-pictures {self.max_pictures}; raise the one "
                "or lower the other"
            )
        for origin in self.origins:
            if origin != "*" and not origin.startswith(("http://", "https://")):
                raise UserError(f"--allow-origin {origin} is no origin; write it like https://example.com")

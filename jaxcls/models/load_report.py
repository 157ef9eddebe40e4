"""What became of every tensor of a file of weights, and what the weights rest on, as lines and as JSON."""

import dataclasses
from typing import Any

from jaxcls.models import basis, state_dict

TRANSLATED = "another library's"
SHOWN = 4  # names of a group in a report's text


@dataclasses.dataclass
class Report:
    """What became of every tensor. `str` of it is a few lines.

    Attributes:
      file, sha256, container: whence the weights came; container is the key the file keeps them under, "" for none.
      loaded: the model's tensors that have the file's values, the resized ones included.
      resized: of these, name -> {"from", "to", "how"}.
      kept: the model's tensors that stay as they were initialised -> why.
      skipped: the file's tensors that were left out -> why.
      names: "the model's own", or `TRANSLATED` where rules made these of them.
      basis: what the weights rest on that no tensor shows, said or assumed (`basis.rows`).
      notes: what else should be known of them.
    """

    file: str = ""
    sha256: str = ""
    container: str = ""
    loaded: list[str] = dataclasses.field(default_factory=list)
    resized: dict[str, dict] = dataclasses.field(default_factory=dict)
    kept: dict[str, str] = dataclasses.field(default_factory=dict)
    skipped: dict[str, str] = dataclasses.field(default_factory=dict)
    names: str = ""
    basis: list[dict[str, str]] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)

    @property
    def source(self) -> dict[str, str]:
        """Name and SHA-256 of the file."""
        return {"file": self.file, "sha256": self.sha256}

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return dataclasses.asdict(self)

    def __str__(self):
        under, count = f" (its {self.container!r})" if self.container else "", len(self.loaded)
        lines = [f"weights {self.file}{under}: {count} of {count + len(self.kept)} tensors loaded"]
        if self.names == TRANSLATED:
            lines[0] += f", by {TRANSLATED} names"
        for title, group in (("as initialised", self.kept), ("left out of the file", self.skipped)):
            for reason in dict.fromkeys(group.values()):
                names = state_dict.abbreviated([name for name in group if group[name] == reason], SHOWN)
                lines.append(f"  {title}: {names} ({reason})")
        changes = [
            f"{name} {state_dict.text(x['from'])} to {state_dict.text(x['to'])} ({x['how']})"
            for name, x in self.resized.items()
        ]
        if changes:
            lines.append(f"  resized: {state_dict.abbreviated(changes, SHOWN)}")
        return "\n".join([*lines, *basis.as_text(self.basis), *(f"  note: {note}" for note in self.notes)])

"""What happened in a training, as data."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class History:
    """One row an epoch, the loss of every step, and the settings that led there."""

    config: dict = field(default_factory=dict)
    epochs: list[dict] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)

    def __getitem__(self, column: str) -> list[float]:
        """One column over the epochs, where it was measured: loss and its terms, knn, spread, rankme, lr, seconds."""
        return [row[column] for row in self.epochs if column in row]

    @property
    def seconds(self) -> float:
        """Training time without the probes."""
        return sum(row["seconds"] for row in self.epochs)


class TrainingDivergedError(FloatingPointError):
    """The loss is no longer a finite number."""

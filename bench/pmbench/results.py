"""Everything that was measured in one run: kept as JSON, shown as Markdown."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from . import bodies, connections, honesty, listeners, quiet, stop, syscalls, tables
from .load import Sample


@dataclass
class Results:
    """Empty where nothing was measured."""

    honesty: list[honesty.Honesty] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    syscalls: list[syscalls.Syscalls] = field(default_factory=list)
    idle: list[connections.Idle] = field(default_factory=list)
    listeners: list[listeners.Listeners] = field(default_factory=list)
    stops: list[stop.Stop] = field(default_factory=list)
    bodies: list[bodies.Body] = field(default_factory=list)
    quiet: quiet.Quiet | None = None

    def of(self, scenario: str) -> list[Sample]:
        """The samples of one scenario."""
        return [sample for sample in self.samples if sample.scenario == scenario]

    def keep(self, file: Path) -> None:
        """Writes all of it down."""
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(asdict(self), indent=1))

    def markdown(self) -> str:
        """All tables of what was measured."""
        parts = []
        if self.honesty:
            parts.append(honesty.honesty_table(self.honesty))
        for scenario in dict.fromkeys(sample.scenario for sample in self.samples):
            parts.append(tables.scenario_tables(self.of(scenario)))
        if self.syscalls:
            parts.append(syscalls.syscalls_table(self.syscalls))
        if self.idle:
            parts.append(connections.idle_table(self.idle))
        if self.listeners:
            parts.append(listeners.listeners_table(self.listeners))
        if self.stops:
            parts.append(stop.stop_table(self.stops))
        if self.bodies:
            parts.append(bodies.bodies_table(self.bodies))
        if self.quiet:
            parts.append(quiet.quiet_table(self.quiet))
        return "\n".join(parts)

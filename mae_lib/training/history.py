"""What a training run logs."""

import json
from pathlib import Path

from mae_lib.training.checkpoints import explain_full_disk, write_atomically


class History:
    """Everything logged, one JSON record a line, written as it goes.

    Records have "kind" ("step" or "epoch") and "step", the number of steps done.
    """

    def __init__(self, path: Path | None, steps_done: int):
        self.path, self.records = path, []
        if path and path.exists():
            lines = path.read_text().splitlines()
            self.records = [r for r in map(_parse, lines) if r and r["step"] <= steps_done]
        if path:
            text = "".join(json.dumps(r) + "\n" for r in self.records)
            write_atomically(path, lambda temporary: temporary.write_text(text))

    def add(self, records: list[dict]) -> None:
        self.records += records
        if self.path:
            with explain_full_disk(self.path), open(self.path, "a") as file:
                file.writelines(json.dumps(record) + "\n" for record in records)

    def mean_loss(self, steps: int) -> float:
        """The mean training loss of the last `steps` steps."""
        losses = [r["loss"] for r in self.records if r["kind"] == "step"][-steps:]
        return sum(losses) / len(losses)

    def epochs(self) -> list[dict]:
        return [r for r in self.records if r["kind"] == "epoch"]


def _parse(line: str) -> dict | None:
    try:
        return json.loads(line)
    except json.JSONDecodeError:  # a line cut by a kill
        return None

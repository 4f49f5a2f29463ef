"""What a training run logs."""

import json
from pathlib import Path

from mae_lib.training.checkpoints import explain_full_disk, write_atomically


class History:
    """Everything logged, one JSON record a line, written as it goes.

    Records have "kind" ("step" or "epoch") and "step", the number of steps done.
    """

    def __init__(self, path: Path | None, steps_done: int):
        known = read_log(path) if path and path.exists() else []
        self.path, self.records = path, [r for r in known if r["step"] <= steps_done]
        text = "".join(json.dumps(r) + "\n" for r in self.records)
        if path and not (path.exists() and path.read_text("utf-8", errors="replace") == text):
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


def read_log(path: Path) -> list[dict]:
    """The records in a log, without one that was cut by a kill.

    Raises ValueError for a file of something else, which a run would otherwise overwrite.
    """
    records, cut = [], 0
    for line in path.read_text("utf-8", errors="replace").splitlines():
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            cut += 1
    if cut > 1 or not all(isinstance(r, dict) and {"kind", "step"} <= r.keys() for r in records):
        raise ValueError(f"{path} is not the log of a training run: choose another folder, or "
                         "move that file.")
    return records

"""The tables of benchmarks/README.md, written from the files in mae_lib/assets/.

  python -m benchmarks.report
"""

import json
import re
from pathlib import Path

from benchmarks.timing import RESULTS
from mae_lib.runtime import cli

README = Path(__file__).parent / "README.md"


def measurements(command: str) -> list[dict]:
    path = RESULTS / f"{command}.json"
    return json.loads(path.read_text()) if path.exists() else []


def heading(m: dict) -> str:
    return (f"**{m['device']}, {m['precision']}, {m['preset']}, batch {m['batch_size']}** "
            f"(torch {m['torch']}, Python {m['python']}, median of {m['rounds']} rounds, "
            f"{m['date']})")


def table(titles: list[str], rows: list[list[str]]) -> str:
    lines = [titles, ["---", *["--:"] * (len(titles) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def more(ratio: float, digits: int) -> str:
    return f"{100 * (ratio - 1):+.{digits}f} %"


def half_interval(row: dict, name: str, digits: int, factor: float = 1.0) -> str:
    """" ± half the 95 % interval" of the row's ratio, `factor` times; empty where there is none."""
    low, high = (row.get(f"{name}_{end}") for end in ("low", "high"))
    return f" ± {factor * (high - low) / 2:.{digits}f}" if low else ""


def more_with_interval(row: dict) -> str:
    half = half_interval(row, "seconds_ratio", 1, 100)
    return more(row["seconds_ratio"], 1).replace(" %", f"{half} %")


def times_faster(row: dict, name: str) -> str:
    half = half_interval(row, name, 2) if row["name"] != "ours" else ""
    return f"{row[name]:.2f}{half}×"


def pretrain_speed(m: dict) -> str:
    titles = ["", "step, images/s", "ours is", "end to end, images/s", "ours is",
              "multiply-adds per image", "share of matrix-product rate", "peak memory"]
    return table(titles, [[
        r["name"], f"{r['images_per_second']:,.0f}", times_faster(r, "ours_is_faster_by"),
        f"{r['end_to_end']:,.0f}", times_faster(r, "ours_is_faster_by_end_to_end"),
        f"{r['multiply_adds'] / 1e6:,.0f} M", f"{r['share_of_matrix_rate']:.0%}",
        f"{r['peak_memory_mb']:,.0f} MB",
    ] for r in m["rows"]])


def add_on_prices(m: dict) -> str:
    base = m["rows"][0]["multiply_adds"]
    rows = [[r["name"], f"{r['images_per_second']:,.0f}", more_with_interval(r),
             more(r["multiply_adds"] / base, 1)] for r in m["rows"]]
    c = m["curriculum"]
    rows.append([f"curriculum, ten epochs ({c['lengths']} sequence lengths)", "",
                 more_with_interval(c), more(c["multiply_adds_ratio"], 1)])
    return table(["", "images/s", "time", "multiply-adds"], rows)


def gains(m: dict) -> str:
    return table(["", "images/s", "time"], [
        [r["name"], f"{r['images_per_second']:,.0f}", more(r["seconds_ratio"], 0)]
        for r in m["rows"]])


def latency(m: dict) -> str:
    found = table(["", "moves", "median", "95 % within"], [
        [r["name"], f"{r['moves']}", f"{r['median_ms']:.0f} ms", f"{r['p95_ms']:.0f} ms"]
        for r in m["rows"]])
    return f"{found}\n\n{m['with']}; the machine's load average was {m['load_average']}."


def explorer_latency(m: dict) -> str:
    return latency({**m, "with": f"ipywidgets {m['ipywidgets']}"})


def site_latency(m: dict) -> str:
    return latency({**m, "with": f"Chromium {m['chromium']}, onnxruntime-web {m['runtime']}"})


def scenes_search(records: list[dict]) -> str:
    """Two tables: of what changes pretraining, and of how 500 labels are used."""
    def cell(found: dict | None, measure: str) -> str:
        return f"{found[measure]:.1f}" if found else ""

    whole = [(r["name"], r["measures"]) for r in records if "original" in r["measures"]]
    few = [(r["name"], r["measures"]) for r in records if "original" not in r["measures"]]
    return "\n\n".join([
        table(["", "probe %", "kNN %", "kNN whitened %", "probe of raw pixels %",
               "probe of random weights %", "seconds"],
              [[name, *(cell(m["original"], key) for key in ("lp", "knn", "knn_whitened")),
                *(cell(m.get(other), "lp") for other in ("raw pixels", "random init")),
                f"{m['seconds']}"] for name, m in whole]),
        table(["with 500 labels", "accuracy %", "seconds"],
              [[name, cell(next(f for f in m.values() if isinstance(f, dict)), "ft"),
                f"{m['seconds']}"] for name, m in few])])


def render(text: str) -> str:
    """The README's text with its tables written anew."""
    for name, write in (("pretrain_speed", pretrain_speed), ("add_on_prices", add_on_prices),
                        ("gains", gains), ("explorer_latency", explorer_latency),
                        ("site_latency", site_latency), ("scenes_search", scenes_search)):
        found = measurements(name)
        if name == "scenes_search":
            parts = [scenes_search(found)] if found else []
        else:
            parts = [f"{heading(m)}\n\n{write(m)}" for m in found]
        block = "\n\n".join([f"<!-- {name} -->", *parts, f"<!-- end of {name} -->"])
        pattern = f"<!-- {name} -->.*<!-- end of {name} -->"
        text, count = re.subn(pattern, lambda _, block=block: block, text, flags=re.DOTALL)
        if count != 1:
            raise ValueError(f"{README.name} needs one pair of marks <!-- {name} -->.")
    return text


if __name__ == "__main__":
    cli.run(lambda: README.write_text(render(README.read_text("utf-8")), "utf-8"))

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
    form = f", {m['form']}" if "form" in m else ""
    processor = f"{m['processor']}, " if "processor" in m else ""  # older results lack it
    return (f"**{m['device']}, {m['precision']}, {m['preset']}, batch {m['batch_size']}{form}** "
            f"({processor}torch {m['torch']}, Python {m['python']}, "
            f"median of {m['rounds']} rounds, {m['date']})")


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


# Columns of the table of speeds, by what a row must have to fill them; empty ones are left out.
SPEED = {
    "images_per_second": ("step, images/s", lambda r: f"{r['images_per_second']:,.0f}"),
    "ours_is_faster_by": ("ours is", lambda r: times_faster(r, "ours_is_faster_by")),
    "end_to_end": ("end to end, images/s", lambda r: f"{r['end_to_end']:,.0f}"),
    "ours_is_faster_by_end_to_end": (
        "ours is", lambda r: times_faster(r, "ours_is_faster_by_end_to_end")),
    "multiply_adds": ("multiply-adds per image", lambda r: f"{r['multiply_adds'] / 1e6:,.0f} M"),
    "share_of_matrix_rate": (
        "share of matrix-product rate", lambda r: f"{r['share_of_matrix_rate']:.0%}"),
    "bytes_moved": ("bytes moved per image", lambda r: f"{r['bytes_moved'] / 1e6:,.0f} MB"),
    "share_of_memory_rate": ("share of memory rate", lambda r: f"{r['share_of_memory_rate']:.0%}"),
    "peak_memory_mb": ("peak memory", lambda r: f"{r['peak_memory_mb']:,.0f} MB"),
}


def pretrain_speed(m: dict) -> str:
    columns = [(key, *SPEED[key]) for key in SPEED if any(key in r for r in m["rows"])]
    return table(["", *(title for _, title, _ in columns)], [
        [r["name"], *(show(r) if key in r else "" for key, _, show in columns)]
        for r in m["rows"]])


def add_on_prices(m: dict) -> str:
    base = m["rows"][0]["multiply_adds"]
    rows = [[r["name"], f"{r['images_per_second']:,.0f}", more_with_interval(r),
             more(r["multiply_adds"] / base, 1)] for r in m["rows"]]
    if c := m.get("curriculum"):
        rows.append([f"curriculum, ten epochs ({c['lengths']} sequence lengths)", "",
                     more_with_interval(c), more(c["multiply_adds_ratio"], 1)])
    return table(["", "images/s", "time", "multiply-adds"], rows)


def gains(m: dict) -> str:
    return table(["", "time of a step"], [
        [r["name"], more(r["seconds_ratio"], 0)] for r in m["rows"]])


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
    few = [(found["ft"], r["name"], r["measures"]["seconds"]) for r in records
           for found in r["measures"].values() if isinstance(found, dict) and "ft" in found]
    return "\n\n".join([
        table(["", "probe %", "kNN %", "kNN whitened %", "probe of raw pixels %",
               "probe of random weights %", "seconds"],
              [[name, *(cell(m["original"], key) for key in ("lp", "knn", "knn_whitened")),
                *(cell(m.get(other), "lp") for other in ("raw pixels", "random init")),
                f"{m['seconds']}"] for name, m in whole]),
        table(["with 500 labels", "accuracy %", "seconds"],
              [[name, f"{ft:.1f}", f"{seconds}"]
               for ft, name, seconds in sorted(few, reverse=True)])])


FORMS = {"graphs": "recorded", "compiled + graphs": "compiled and recorded", "plain": "plain",
         "compiled": "compiled"}
WANTED = ("**The second edition has not been measured on a GPU yet.** To do so, run `python -m "
          "benchmarks.gpu --out mae_lib/assets --official PATH` and then `python -m benchmarks."
          "report`.")


def slower(row: dict, base: dict) -> float:
    """The ratio of the medians of two steps' times."""
    return base["images_per_second"] / row["images_per_second"]


def from_gpu(found: dict, command: str) -> list[dict]:
    """What gpu.json says, as entries of the file of another command."""
    sizes = sorted({int(name.split()[2].strip(",")) for name in found if name.startswith("step, ")})
    entries = []
    for batch in sizes:
        about = {**found["machine"], "batch_size": batch}
        steps = {form: found.get(f"step, batch {batch}, {form}", {}) for form in FORMS}
        steps = {form: row for form, row in steps.items() if "images_per_second" in row}
        if command == "pretrain_speed":
            entries.append({**about, "rows": _speeds_on_gpu(found, steps, batch)})
        elif command == "gains" and "graphs" in steps:
            rows = {FORMS[form]: row for form, row in steps.items()}
            for change in ("gathered crop", "bf16 residuals", "everything"):
                row = found.get(f"step, batch {batch}, compiled + graphs, {change}", {})
                rows |= {f"compiled and recorded, {change}": row} if "milliseconds" in row else {}
            entries.append({**about, "rows": [
                {**row, "name": name, "seconds_ratio": slower(row, steps["graphs"])}
                for name, row in rows.items()]})
        elif command == "add_on_prices":
            for form, base in steps.items():
                rows = {name: found.get(f"step, batch {batch}, {form}, {name}", {})
                        for name in ("Laplacian", "uniformity", "both")}
                rows = {f"+ {name}": row for name, row in rows.items() if "milliseconds" in row}
                entries += [{**about, "form": FORMS[form], "rows": [
                    {**row, "name": name, "multiply_adds": 1,  # losses have hardly any
                     "seconds_ratio": slower(row, base)}
                    for name, row in {"original": base, **rows}.items()]}] * bool(rows)
    return entries


def _speeds_on_gpu(found: dict, steps: dict[str, dict], batch: int) -> list[dict]:
    """Rows of `pretrain_speed`: our steps, crops included, and the others' without crops."""
    named = {f"ours, {FORMS[form]}": ("ours", row) for form, row in steps.items()}
    for peer in ("official", "transformers", "lightly"):
        for form in ("plain", "compiled"):
            named[f"{peer}, {form}"] = peer, found.get(f"{peer}, batch {batch}, {form}", {})
    fastest = max((row["images_per_second"] for row in steps.values()), default=None)
    rates, rows = found.get("rates", {}), []
    for name, (who, row) in named.items():
        if "images_per_second" not in row or not fastest:
            continue
        row = {"name": name, **row, "ours_is_faster_by": fastest / row["images_per_second"]}
        counts = found.get(f"counts of {who}", {})
        # What compiled code moves is known for ours alone, where torch counted it.
        given = ("multiply_adds",) if "compiled" in name else ("multiply_adds", "bytes_moved")
        row = {key: counts[key] for key in given if key in counts} | row
        for share, of, rate in (
                ("share_of_matrix_rate", "multiply_adds", "multiply_adds_per_second"),
                ("share_of_memory_rate", "bytes_moved", "bytes_per_second")):
            if of in row and rate in rates:
                row[share] = row["images_per_second"] * row[of] / rates[rate]
        rows.append(row)
    return rows


def render(text: str) -> str:
    """The README's text with its tables rewritten."""
    gpu = measurements("gpu")
    for name, write in (("pretrain_speed", pretrain_speed), ("add_on_prices", add_on_prices),
                        ("gains", gains), ("explorer_latency", explorer_latency),
                        ("site_latency", site_latency), ("scenes_search", scenes_search)):
        found = measurements(name)
        if name == "scenes_search":
            parts = [scenes_search(found)] if found else []
        else:
            found = [*found, *(from_gpu(gpu, name) if gpu else [])]
            parts = [f"{heading(m)}\n\n{write(m)}" for m in found]
            parts += [WANTED] * (name == "pretrain_speed" and not gpu)
        block = "\n\n".join([f"<!-- {name} -->", *parts, f"<!-- end of {name} -->"])
        pattern = f"<!-- {name} -->.*<!-- end of {name} -->"
        text, count = re.subn(pattern, lambda _, block=block: block, text, flags=re.DOTALL)
        if count != 1:
            raise ValueError(f"{README.name} needs one pair of marks <!-- {name} -->.")
    return text


if __name__ == "__main__":
    cli.run(lambda: README.write_text(render(README.read_text("utf-8")), "utf-8"))

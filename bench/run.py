"""`./dev bench [filter]`: runs the benchmarks, writes docs/bench/latency.json and the table docs/bench/latency.md.

If a `criu` that works is in PATH, the same trees are run with it and the table has ratios."""

import json
import os
import platform
import shutil
import subprocess
import sys

REPOSITORY = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
RESULTS = os.path.join(REPOSITORY, "docs/bench")


def working_peer():
    peer = shutil.which("criu")
    if peer and subprocess.run([peer, "check"], capture_output=True, check=False).returncode == 0:
        return peer
    return None


def collect(results):
    """{(shape, size): {(what, engine): benchmark}}"""
    table = {}
    for row in results["benchmarks"]:
        parts = row["name"].split("/")
        if parts[0] not in ("snapshot", "dump", "restore"):
            continue
        what, shape, size, engine = parts[:4]
        table.setdefault((shape, int(size)), {})[what, engine] = row
    return table


def cell(rows, what, key="real_time", digits=2):
    row = rows.get((what, "nativecr"))
    if row is None or row.get("error_occurred") or key not in row:
        return "-"
    text = f"{row[key]:.{digits}f}"
    peer = rows.get((what, "criu"))
    if peer and not peer.get("error_occurred") and peer.get(key):
        text += f" ({row[key] / peer[key]:.2f})"
    return text


def write_table(results, has_peer):
    lines = ["# Latency", "",
             f"Linux {platform.release()}, {os.cpu_count()} CPUs, images on tmpfs, commands timed from start to exit; milliseconds, mean."
             + (" In brackets: the ratio to criu in the same run." if has_peer else ""), "",
             "| tree | snapshot | stall | frozen | killing dump | restore | image MB |", "| --- | --- | --- | --- | --- | --- | --- |"]
    for (shape, size), rows in collect(results).items():
        lines.append(f"| {shape.replace('_', ' ')} {size} | {cell(rows, 'snapshot')} | {cell(rows, 'snapshot', 'stall_ms')} | "
                     f"{cell(rows, 'snapshot', 'frozen_ms')} | {cell(rows, 'dump')} | {cell(rows, 'restore')} | "
                     f"{cell(rows, 'snapshot', 'image_mb')} |")
    for row in results["benchmarks"]:
        if row["name"].startswith("dump_beside_copy"):
            lines += ["", f"A killing dump of 1 GiB next to a copy of a 1 GiB tmpfs file into a fresh one, by turns: {row['real_time']:.0f} ms and "
                      f"{row['copy_ms']:.0f} ms in the mean; the median of the ratios is {row['median_ratio']:.2f}."]
    lines += ["", "`latency.json` beside this file has the phases.", ""]
    with open(os.path.join(RESULTS, "latency.md"), "w", encoding="utf-8") as file:
        file.write("\n".join(lines))


def main():
    os.makedirs(RESULTS, exist_ok=True)
    output = os.path.join(RESULTS, "latency.json")
    environment = dict(os.environ)
    peer = working_peer()
    if peer:
        environment["NCR_PEER"] = peer
    command = [os.path.join(REPOSITORY, "build/bench/bench/latency_bench"), f"--benchmark_out={output}", "--benchmark_out_format=json"]
    if len(sys.argv) > 1:
        command.append(f"--benchmark_filter={sys.argv[1]}")
    subprocess.run(command, env=environment, check=True)
    with open(output, encoding="utf-8") as file:
        results = json.load(file)
    results["context"] = {key: results["context"][key] for key in ("date", "num_cpus", "mhz_per_cpu") if key in results["context"]}
    with open(output, "w", encoding="utf-8") as file:
        json.dump(results, file, indent=1)
    write_table(results, peer is not None)
    with open(os.path.join(RESULTS, "latency.md"), encoding="utf-8") as file:
        print(file.read())


if __name__ == "__main__":
    main()

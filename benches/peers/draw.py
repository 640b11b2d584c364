"""Puts the points of all servers into one CSV, one plot and one table."""

import csv
import json

COLOURS = {
    "punctual": "#d62728",
    "triton": "#2ca02c",
    "bentoml": "#1f77b4",
    "litserve": "#ff7f0e",
    "ray": "#9467bd",
    "mlserver": "#7f7f7f",
}
WIDTH, HEIGHT = 760, 460
LEFT, RIGHT, TOP, BOTTOM = 64, 190, 48, 56


def draw(results, folder):
    """Servers that were not measured here keep the points, and the date, that they have in the CSV."""
    folder.mkdir(parents=True, exist_ok=True)
    before = by_peer(kept(folder / "peers.csv"))
    measured = {name: load(results, name) for name in COLOURS if (results / f"{name}.json").exists()}
    points = [point for name in COLOURS for point in measured.get(name, before.get(name, []))]
    with open(folder / "peers.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(points[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(points)
    (folder / "peers.svg").write_text(svg(points))
    print(table(points))


def load(results, name):
    return json.loads((results / f"{name}.json").read_text())


def kept(file):
    if not file.exists():
        return []
    with open(file, newline="") as lines:
        rows = list(csv.DictReader(lines))
    numbers = ["capacity", "deadline_ms", "load", "goodput"]
    numbered = [{**row, **{key: float(row[key]) for key in numbers}} for row in rows]
    return [{**row, "client_on_time": row["client_on_time"] == "True"} for row in numbered]


def by_peer(points):
    found = {}
    for point in points:
        found.setdefault(point["peer"], []).append(point)
    return found


def table(points):
    """Goodput as a part of the capacity, a row for each server and a column for each load; `*` where the client lagged."""
    loads = sorted({point["load"] for point in points})
    lines = ["| goodput, of capacity | " + " | ".join(f"{load:g}x" for load in loads) + " |"]
    lines.append("|---" * (len(loads) + 1) + "|")
    for peer in by_peer(points).values():
        cells = {point["load"]: cell(point) for point in peer}
        lines.append(f"| {peer[0]['title']} | " + " | ".join(cells.get(load, "") for load in loads) + " |")
    return "\n".join(lines)


def cell(point):
    return f"{point['goodput'] / point['capacity']:.2f}" + ("" if point["client_on_time"] else "*")


def svg(points):
    x_max = max(point["load"] for point in points)
    y_max = max(1.0, max(point["goodput"] / point["capacity"] for point in points))

    def x(load):
        return LEFT + load / x_max * (WIDTH - LEFT - RIGHT)

    def y(part):
        return HEIGHT - BOTTOM - part / y_max * (HEIGHT - TOP - BOTTOM)

    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    lines += frame(points, x, y, x_max, y_max)
    ends = {}
    for name, peer in by_peer(points).items():
        path = " ".join(f"{x(p['load']):.1f},{y(p['goodput'] / p['capacity']):.1f}" for p in peer)
        width = 3 if name == "punctual" else 1.8
        lines.append(f'<polyline points="{path}" fill="none" stroke="{COLOURS[name]}" stroke-width="{width}"/>')
        lines += [mark(p, x, y, COLOURS[name]) for p in peer]
        ends[name] = y(peer[-1]["goodput"] / peer[-1]["capacity"])
    titles = {name: peer[0]["title"] for name, peer in by_peer(points).items()}
    for name, at in apart(ends).items():
        weight = ' font-weight="bold"' if name == "punctual" else ""
        lines.append(f'<text x="{WIDTH - RIGHT + 10}" y="{at + 4:.1f}" fill="{COLOURS[name]}"{weight}>{titles[name]}</text>')
    return "\n".join([*lines, "</svg>\n"])


def mark(point, x, y, colour):
    """A dot; hollow where the client itself lagged."""
    fill = colour if point["client_on_time"] else "white"
    at = f'cx="{x(point["load"]):.1f}" cy="{y(point["goodput"] / point["capacity"]):.1f}"'
    return f'<circle {at} r="3.5" fill="{fill}" stroke="{colour}" stroke-width="1.5"/>'


def apart(ends):
    """Moves labels down until no two of them overlap, and then all of them up into the picture."""
    placed, last = {}, -100.0
    for name in sorted(ends, key=ends.get):
        last = max(ends[name], last + 16)
        placed[name] = last
    above = max(0.0, last - (HEIGHT - BOTTOM))
    return {name: at - above for name, at in placed.items()}


def frame(points, x, y, x_max, y_max):
    first = points[0]
    note = f"one model (Gemm-bound), one thread, deadline {first['deadline_ms']:.1f} ms, Poisson arrivals, {first['date']}"
    bottom, middle = HEIGHT - BOTTOM, (LEFT + WIDTH - RIGHT) / 2
    lines = [
        f'<text x="{middle}" y="20" text-anchor="middle" font-size="15">Answers in time, against what is asked</text>',
        f'<text x="{middle}" y="37" text-anchor="middle" fill="#555">{note}</text>',
        f'<text x="{middle}" y="{HEIGHT - 14}" text-anchor="middle">offered, of the capacity of ONNX Runtime alone '
        f"({first['capacity']:.0f}/s)</text>",
        f'<text text-anchor="middle" transform="rotate(-90 16 {HEIGHT / 2})" x="16" y="{HEIGHT / 2}">'
        "answered in time, of that capacity</text>",
    ]
    for tick in range(int(y_max * 5) + 1):
        at = y(tick / 5)
        lines.append(f'<path d="M{LEFT} {at:.1f}H{WIDTH - RIGHT}" stroke="#e3e3e3"/>')
        lines.append(f'<text x="{LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{tick / 5:.1f}</text>')
    for tick in range(int(x_max * 2) + 1):
        lines.append(f'<text x="{x(tick / 2):.1f}" y="{bottom + 18}" text-anchor="middle">{tick / 2:g}x</text>')
    # What no server can be above: everything that is asked.
    lines.append(f'<path d="M{x(0)} {y(0)}L{x(y_max):.1f} {y(y_max):.1f}" stroke="#bbb" stroke-dasharray="4 4"/>')
    lines.append(f'<path d="M{LEFT} {TOP}V{bottom}H{WIDTH - RIGHT}" fill="none" stroke="black"/>')
    return lines


if __name__ == "__main__":
    raise SystemExit("run.py draw")

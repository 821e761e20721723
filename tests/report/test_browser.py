"""The page in a real browser, wide and narrow, light and dark."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ihomer.report import render
from tests.report.samples import LEARNERS, repeated, sample

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.browser,
    pytest.mark.skipif(
        CHROMIUM is None, reason="needs Chromium: none of chromium, chromium-browser, google-chrome found"
    ),
]

QUIET = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]

WATCH = """
window.wrong = [];
addEventListener("error", (event) => window.wrong.push(String(event.message || event.target)), true);
console.error = (...words) => window.wrong.push(words.join(" "));
"""

MEASURE = """
document.querySelectorAll("details").forEach((part) => { part.open = true; });
const channels = (colour) => (colour.match(/[\\d.]+/g) || []).map(Number);
const light = (colour) => {
  const [r, g, b] = channels(colour).slice(0, 3).map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const behind = (element) => {
  for (let at = element; at; at = at.parentElement) {
    const colour = getComputedStyle(at).backgroundColor;
    const alpha = channels(colour)[3];
    if (alpha === undefined || alpha === 1) return colour;
  }
  return "rgb(255, 255, 255)";
};
const contrast = (a, b) => {
  const [x, y] = [light(a), light(b)].sort((m, n) => n - m);
  return (x + 0.05) / (y + 0.05);
};
const faint = [];
let texts = 0;
for (const element of document.body.querySelectorAll("*")) {
  if (["SCRIPT", "STYLE", "title"].includes(element.tagName)) continue;
  if (![...element.childNodes].some((child) => child.nodeType === 3 && child.data.trim())) continue;
  texts += 1;
  const style = getComputedStyle(element);
  const ratio = contrast(element instanceof SVGElement ? style.fill : style.color, behind(element));
  if (ratio < 4.5) faint.push(`${element.tagName} ${element.textContent.slice(0, 30)} ${ratio.toFixed(2)}`);
}
const lines = [...document.querySelectorAll(".panel .cumulative, .panel .reliable, .ranks path")]
  .filter((line) => contrast(getComputedStyle(line).stroke, behind(line.ownerSVGElement.parentElement)) < 2.8)
  .map((line) => line.getAttribute("class"));
const clipped = [...document.querySelectorAll(".panel text, .tree text, .ranks text")].filter((text) => {
  const box = text.getBoundingClientRect();
  const frame = text.ownerSVGElement.getBoundingClientRect();
  return box.left < frame.left - 1 || box.right > frame.right + 1 || box.bottom > frame.bottom + 1;
}).map((text) => text.textContent);
const root = document.documentElement;
const inner = innerWidth;
const outside = [...document.body.querySelectorAll("*")].filter((element) => {
  if (element.closest(".scroll, svg, .unseen")) return false;
  const box = element.getBoundingClientRect();
  return box.width > 0 && (box.right > inner + 1 || box.left < -1);
}).map((element) => element.outerHTML.slice(0, 80));

const head = document.querySelector("table.sortable thead th:nth-child(2)");
const column = () => [...head.closest("table").tBodies[0].rows].map((row) => row.cells[1].textContent.trim());
const before = column();
const orders = [0, 1, 2].map(() => { head.querySelector("button").click(); return column(); });
const panel = document.querySelector(".panel .s0");
const shown = getComputedStyle(panel).display;
document.querySelector('.curves input[value="s0 d0"]').click();
const hidden = getComputedStyle(panel).display;

const found = {
  inner, scroll: root.scrollWidth, outside, faint, texts, lines, clipped, wrong: window.wrong,
  background: getComputedStyle(document.body).backgroundColor, before, orders, shown, hidden,
};
const note = document.createElement("pre");
note.id = "measured";
note.textContent = JSON.stringify(found);
document.body.append(note);
"""


def measured(page: str, folder: Path, width: int, dark: bool) -> dict[str, Any]:
    """What a browser of this width says about a page, with everything on it unfolded."""
    path = folder / "page.html"
    watched = page.replace("<head>", f"<head><script>{WATCH}</script>", 1)
    path.write_text(watched.replace("</body>", f"<script>{{{MEASURE}}}</script></body>"), encoding="utf-8")
    # Windows are not narrower than 500 pixels, frames are.
    frame = folder / "frame.html"
    frame.write_text(
        f'<iframe id="f" src="page.html" style="width:{width}px;height:900px;border:0"></iframe>'
        '<script>onload=()=>{document.body.append(document.getElementById("f").contentDocument'
        '.getElementById("measured"))}</script>'
    )
    command = [
        *(str(CHROMIUM), *QUIET, f"--user-data-dir={folder / 'profile'}", f"--window-size={width + 40},1000"),
        *("--allow-file-access-from-files", f"--blink-settings=preferredColorScheme={0 if dark else 1}"),
        *("--virtual-time-budget=5000", "--dump-dom", frame.as_uri()),
    ]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    found = re.search(r'<pre id="measured">(.*?)</pre>', answer, re.DOTALL)
    assert found, f"the page did not get to its end:\n{answer[-2000:]}"
    value: dict[str, Any] = json.loads(html.unescape(found.group(1)))
    return value


PAGES = {
    "one": lambda: sample(interrupted=True),
    "many": lambda: sample(6, LEARNERS, n_labels=60, compared=True),
    "repeated": lambda: repeated(3, n_streams=2, learners=LEARNERS),
    "long names": lambda: sample(
        2, n_labels=120, single=True, label="a-label-with-a-very-long-name-that-does-not-break-anywhere-at-all-{}"
    ),
}


@pytest.mark.parametrize("width", [360, 380, 1280])
@pytest.mark.parametrize("name", PAGES)
def test_page_fits_and_can_be_read(name, width, tmp_path):
    page = render(PAGES[name]())
    background = {}
    for dark in (False, True):
        found = measured(page, tmp_path, width, dark)
        assert found["inner"] == width
        assert found["scroll"] <= width
        assert found["outside"] == []
        assert found["wrong"] == []
        assert found["texts"] > 100
        assert found["faint"] == []
        assert found["lines"] == []
        assert found["clipped"] == []
        assert (found["shown"], found["hidden"]) == ("inline", "none")
        descending, ascending, original = found["orders"]
        assert ascending == sorted(found["before"], key=float)
        assert descending == ascending[::-1]
        assert original == found["before"]
        background[dark] = found["background"]
    assert background == {False: "rgb(255, 255, 255)", True: "rgb(20, 23, 27)"}

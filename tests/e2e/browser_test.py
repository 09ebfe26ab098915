"""A headless Chromium opens a report from disk: it shows charts, in light and dark, on paper, without a complaint."""

import os
import pathlib
import shutil
import struct
import subprocess
import tempfile
import unittest
import zlib

import venvs
from support import RunCase

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
WITHIN = 120  # [s]
LEAST_COLOURS = 30  # of a page with charts; a blank one has one or two


def browser():
    for name in NAMES:
        if found := shutil.which(name):
            return found
    raise unittest.SkipTest(f"no browser: none of {', '.join(NAMES)} is installed (Debian: apt-get install chromium)")


def pixels(png):
    """(width, height, rows of RGB bytes) of a PNG of 8 bits, RGB or RGBA, not interlaced."""
    width, height, depth, kind, _, _, interlaced = struct.unpack(">IIBBBBB", png[16:29])
    assert (depth, interlaced) == (8, 0) and kind in (2, 6), (depth, kind, interlaced)
    data, at = b"", 8
    while at < len(png):
        length, name = struct.unpack(">I4s", png[at : at + 8])
        if name == b"IDAT":
            data += png[at + 8 : at + 8 + length]
        at += 12 + length
    size, raw = {2: 3, 6: 4}[kind], zlib.decompress(data)
    rows, before = [], bytearray(width * size)
    for y in range(height):
        start = y * (width * size + 1)
        row = bytearray(raw[start + 1 : start + 1 + width * size])
        undo(raw[start], row, before, size)
        rows.append(row)
        before = row
    return width, height, [bytes(b for i, b in enumerate(row) if i % size < 3) for row in rows]


def undo(kind, row, before, size):
    """The filters of PNG, section 9.2 of its standard."""
    for i in range(len(row) if kind else 0):
        left, up, corner = (row[i - size], before[i], before[i - size]) if i >= size else (0, before[i], 0)
        if kind == 4:
            guess = left + up - corner
            add = min((abs(guess - left), 0, left), (abs(guess - up), 1, up), (abs(guess - corner), 2, corner))[2]
        else:
            add = {1: left, 2: up, 3: (left + up) // 2}[kind]
        row[i] = (row[i] + add) & 255


class Browser(RunCase):
    @classmethod
    def setUpClass(cls):
        cls.program = browser()
        super().setUpClass()

    def ask(self, *arguments):
        profile = tempfile.mkdtemp(dir=self.folder)
        return subprocess.run([self.program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                               "--enable-logging=stderr", f"--user-data-dir={profile}", *arguments,
                               f"file://{self.run_folder / 'report.html'}"],
                              capture_output=True, text=True, timeout=WITHIN, check=True)

    def picture(self, name, *arguments):
        file = pathlib.Path(os.environ.get("MAKEMOE_KEEP_PICTURES", self.folder)) / f"{name}.png"
        done = self.ask(f"--screenshot={file}", "--hide-scrollbars", *arguments)
        self.assertNotIn("CONSOLE", done.stderr)
        return pixels(file.read_bytes())

    def test_it_shows_charts_in_light_and_dark_wide_and_narrow(self):
        brightness = {}
        for name, size, scheme in (("light", "800,1200", 1), ("dark", "800,1200", 0), ("narrow", "500,1200", 1)):
            width, height, rows = self.picture(name, f"--window-size={size}", f"--blink-settings=preferredColorScheme={scheme}")
            self.assertEqual(f"{width},{height}", size)
            colours = {row[i : i + 3] for row in rows for i in range(0, len(row), 3)}
            self.assertGreater(len(colours), LEAST_COLOURS, name)
            brightness[name] = sum(map(sum, rows)) / (3 * width * height)
        self.assertGreater(min(brightness["light"], brightness["narrow"]), 200)
        self.assertLess(brightness["dark"], 80)

    def test_it_prints_on_a_few_pages(self):
        file = pathlib.Path(os.environ.get("MAKEMOE_KEEP_PICTURES", self.folder)) / "report.pdf"
        self.ask(f"--print-to-pdf={file}", "--no-pdf-header-footer")
        content = file.read_bytes()
        self.assertTrue(content.startswith(b"%PDF-"))
        self.assertIn(content.count(b"/Type /Page\n") or content.count(b"/Type /Page "), range(1, 12))


if __name__ == "__main__":
    venvs.main()

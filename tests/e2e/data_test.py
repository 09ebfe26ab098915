"""`makemoe data`: token files made of texts, in little memory, whole or not at all. What is in them is read here by their format alone."""

import array
import hashlib
import json
import os
import pathlib
import random
import re
import signal
import struct
import time

from support import (DATA, RESOURCES, USAGE, Case, limited, main, makemoe, start, strict_json, temporaries, wait_for,
                     wait_for_handlers)

TEXT = "First Citizen:\r\nWe are accounted poor citizens, the patricians good.\n\nAll:\nSpeak, speak. Grüße, 世界! 🌱\n" * 20
PEAK = 120 << 20  # [bytes] of anonymous memory beside what the program has from the start: two batches a stage, and the caches


def header_of(content):
    """(JSON, ids) of a token file, after docs/formats.md."""
    magic, version, width, count, size, length = struct.unpack("<8sIIQQQ", content[:40])
    assert (magic, version) == (b"MOETOKEN", 1)
    assert hashlib.sha256(content[:40] + content[72:size]).digest() == content[40:72]
    ids = array.array({2: "H", 4: "I"}[width], content[size:])
    assert len(ids) == count
    header = json.loads(content[72 : 72 + length])
    assert header["data_sha256"] == hashlib.sha256(content[size:]).hexdigest()
    return header, ids.tolist()


class DataCommand(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.words = cls.home / "words.json"
        learned = cls.home / "learned.txt"
        learned.write_text(TEXT)
        made = makemoe("tokenizer", "train", learned, "--vocab-size", 300, "--out", cls.words)
        assert made.code == 0, made

    def file(self, name, content=TEXT):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def prepare(self, *texts, out="t.tokens", **options):
        self.done("data", "prepare", *texts, "--tokenizer", self.words, "--out", self.folder / out, **options)
        return header_of((self.folder / out).read_bytes())

    def encode(self, path):
        return [int(word) for word in self.done("tokenizer", "encode", path, "--special", "--tokenizer", self.words).out.split()]

    def test_the_ids_are_those_of_the_encoder_and_the_header_tells_the_source(self):
        text = self.file("a.txt")
        header, ids = self.prepare(text)
        self.assertEqual(ids, self.encode(text))
        (source,) = header["sources"]
        self.assertEqual((source["path"], source["bytes"]), (str(text), len(TEXT.encode())))
        self.assertEqual(source["sha256"], hashlib.sha256(TEXT.encode()).hexdigest())
        self.assertEqual(source["text_sha256"], hashlib.sha256(TEXT.replace("\r\n", "\n").encode()).hexdigest())

    def test_the_file_is_the_same_for_any_number_of_threads(self):
        text = self.file("a.txt", TEXT * 100)
        os.utime(text, (1e9, 1e9))
        files = [self.prepare(text, "--threads", n, out=f"{n}")[1] for n in (1, 2, 5)]
        self.assertEqual(files[0], files[1])
        self.assertEqual(files[0], files[2])

    def test_documents_are_separated_by_one_token(self):
        self.file("t/b/2.txt", "two")
        self.file("t/1.txt", "one<|endoftext|>and a half")
        self.file("t/empty.txt", "")
        self.file("t/no.md", "three")
        joined = self.file("joined", "one<|endoftext|>and a half<|endoftext|>two")
        want = self.encode(joined)
        self.assertEqual(want.count(0), 2)
        for names in ((self.folder / "t",), (self.folder / "t" / "**" / "*.txt",), (self.folder / "t/1.txt", self.folder / "t/b/2.txt")):
            self.assertEqual(self.prepare(*names)[1], want)

    def test_json_tells_what_was_made_and_info_the_same(self):
        out = self.folder / "t.tokens"
        told = strict_json(self.done("data", "prepare", self.file("a.txt"), "--tokenizer", self.words, "--out", out, "--json").out)
        self.assertEqual(list(told), "file tokens bytes_per_id vocab_size texts text_bytes seconds".split())
        info = strict_json(self.done("data", "info", out, "--json").out)
        self.assertEqual({key: info[key] for key in told if key != "seconds"}, {key: told[key] for key in told if key != "seconds"})
        self.assertEqual(info["sources"][0]["sha256"], hashlib.sha256(TEXT.encode()).hexdigest())
        self.assertIn("bytes a token", self.done("data", "info", out).out)

    def test_by_characters_files_are_one_text(self):
        run = self.folder / "run"
        self.assertEqual(self.train_small(run).code, 0)
        out = self.folder / "t.tokens"
        self.done("data", "prepare", self.file("a", "the "), self.file("b", "sea"), "--tokenizer", run / "tokenizer.json", "--out", out)
        ids = header_of(out.read_bytes())[1]
        decoded = self.done("tokenizer", "decode", "-", "--tokenizer", run / "tokenizer.json", input=" ".join(map(str, ids)).encode())
        self.assertEqual(decoded.out, "the sea")

    def test_what_is_wrong_is_one_error_and_leaves_nothing(self):
        text, out = self.file("a.txt"), self.folder / "x.tokens"
        latin, empty, gz = self.file("latin.txt", b"caf\xe9"), self.file("empty.txt", b""), self.file("z.txt", b"\x1f\x8b" * 9)
        (self.folder / "f").mkdir()
        (self.folder / "round" / "loop").mkdir(parents=True)
        (self.folder / "round" / "loop" / "up").symlink_to("..")
        (self.folder / "itself.txt").symlink_to("itself.txt")
        (self.folder / "twin.txt").symlink_to("a.txt")
        (self.folder / "dead").mkdir()
        (self.folder / "dead" / "d.txt").symlink_to("nowhere")
        (self.folder / "pipes").mkdir()
        os.mkfifo(self.folder / "pipes" / "p.txt")
        self.file("names/ok.txt")
        os.rename(os.fsencode(self.folder / "names/ok.txt"), os.fsencode(self.folder / "names") + b"/\xff.txt")
        by = ("--tokenizer", self.words, "--out", out)
        self.refuse_all(DATA, {
            "absent": (("data", "prepare", self.folder / "no.txt", *by), ("no.txt: is not there",)),
            "no name": (("data", "prepare", "", *by), "is not there"),
            "no match": (("data", "prepare", self.folder / "*.rst", *by), "no file fits this pattern"),
            "no text below": (("data", "prepare", self.folder / "f", *by), "has no file *.txt"),
            "latin": (("data", "prepare", text, latin, *by), ("latin.txt: byte 3", "Latin-1")),
            "gzip": (("data", "prepare", gz, *by), "gzip"),
            "empty": (("data", "prepare", empty, *by), "is empty"),
            "twice": (("data", "prepare", text, text, *by), "is the same file"),
            "twice by a link": (("data", "prepare", text, self.folder / "twin.txt", *by), "is the same file"),
            "loop of folders": (("data", "prepare", self.folder / "round", *by), "leads back by a link"),
            "loop of links": (("data", "prepare", self.folder / "itself.txt", *by), "cannot be looked at"),
            "dead link": (("data", "prepare", self.folder / "dead", *by), "is a link to nothing"),
            "pipe in a folder": (("data", "prepare", self.folder / "pipes", *by), "no regular file"),
            "name": (("data", "prepare", self.folder / "names", *by), "not UTF-8"),
            "no tokenizer": (("data", "prepare", text, "--tokenizer", self.folder / "no", "--out", out), "no"),
            "broken tokenizer": (("data", "prepare", text, "--tokenizer", text, "--out", out), "a.txt"),
            "info of nothing": (("data", "info", self.folder / "no"), "no"),
            "info of a text": (("data", "info", text), "is no token file"),
            "info of a folder": (("data", "info", self.folder / "f"), "is a folder"),
            "info of an empty file": (("data", "info", empty), "is no token file"),
        })

    def test_usage_is_checked(self):
        text = self.file("a.txt")
        self.refuse_all(USAGE, {
            "no text": (("data", "prepare", "--tokenizer", self.words, "--out", "x"), "texts"),
            "no out": (("data", "prepare", text, "--tokenizer", self.words), "--out"),
            "no tokenizer": (("data", "prepare", text, "--out", "x"), "--tokenizer"),
            "no threads": (("data", "prepare", text, "--tokenizer", self.words, "--out", "x", "--threads", 0), "--threads"),
            "over the text": (("data", "prepare", text, "--tokenizer", self.words, "--out", text), "a text that is read"),
            "over the tokenizer": (("data", "prepare", text, "--tokenizer", self.words, "--out", self.words), "is the tokenizer"),
            "standard output": (("data", "prepare", text, "--tokenizer", self.words, "--out", "-"), "standard output"),
            "two files": (("data", "info", "a", "b"), "b"),
        })

    def test_a_place_that_takes_no_file_is_an_error_of_its_own(self):
        text = self.file("a.txt")
        def into(out):
            return ("data", "prepare", text, "--tokenizer", self.words, "--out", out)
        self.refuse_all(RESOURCES, {
            "no folder": (into(self.folder / "no" / "x"), "no"),
            "a folder": (into(self.folder), "is a folder"),
            "a device": (into("/dev/null"), "is a device"),
        })
        self.refuse_all(RESOURCES, {"a limit on files": (into(self.folder / "x"), "x")}, preexec_fn=limited(FSIZE=1000))

    def test_files_that_were_changed_are_refused(self):
        self.prepare(self.file("a.txt"))
        whole = (self.folder / "t.tokens").read_bytes()
        draw = random.Random(1)
        cases = {}
        for label, content in {
            "shorter": whole[:-1], "longer": whole + b"x", "without ids": whole[:4096], "half": whole[: len(whole) // 2],
            "of zeros": bytes(len(whole)), "without its header": whole[4096:], "another magic": b"MOETOKEM" + whole[8:],
            "another version": whole[:8] + b"\2" + whole[9:], "another width": whole[:12] + b"\4" + whole[13:],
            "another count": whole[:16] + b"\1" + whole[17:], "a huge count": whole[:16] + b"\xff" * 8 + whole[24:],
            "a huge header": whole[:24] + b"\xff" * 8 + whole[32:], "a huge JSON": whole[:32] + b"\xff" * 8 + whole[40:],
            **{f"byte {at}": whole[:at] + bytes([whole[at] ^ 16]) + whole[at + 1 :] for at in draw.sample(range(len(whole)), 40)},
        }.items():
            cases[label] = (("data", "info", self.file(f"{label}.tokens", content)), label)
        self.refuse_all(DATA, cases)

    def test_a_full_disk_and_a_crash_at_any_operation_leave_the_old_file_or_the_new_one(self):
        old, new = self.file("old.txt", "old"), self.file("new.txt", TEXT)
        out, by = self.folder / "t.tokens", ("--tokenizer", self.words, "--out", self.folder / "t.tokens")
        for fault in ("ENOSPC", "short", "EIO", "crash"):
            for n in range(1, 40):
                self.prepare(old)
                before = out.read_bytes()
                result = makemoe("data", "prepare", new, *by, env={"MAKEMOE_TEST_FAULT": f"{fault}@{n}"})
                if result.code == 0:
                    self.assertGreater(n, 6)
                    break
                self.assertEqual(result.code, -signal.SIGKILL if fault == "crash" else RESOURCES)
                self.done("data", "info", out)
                if out.read_bytes() != before:  # renamed already
                    self.assertEqual(header_of(out.read_bytes())[1], self.encode(new))
                if fault != "crash":
                    self.assertEqual(temporaries(self.folder), [])
            self.assertEqual(result.code, 0)

    def big(self, megabytes):
        """A text that takes a while."""
        words = ["".join(chr(97 + (i * k) % 26) for k in range(1, 3 + i % 9)) for i in range(4000)]
        draw = random.Random(2)
        block = (" ".join(draw.choices(words, k=160_000)) + "\n").encode()
        path = self.folder / "big.txt"
        with path.open("wb") as file:
            for _ in range(megabytes * (1 << 20) // len(block) + 1):
                file.write(block)
        return path

    def test_killed_at_any_moment_it_leaves_nothing_that_is_believed(self):
        text, out = self.big(16), self.folder / "t.tokens"
        command = ("data", "prepare", text, "--tokenizer", self.words, "--out", out)
        began = time.monotonic()
        want = strict_json(self.done(*command, "--json").out)["tokens"]
        whole = time.monotonic() - began
        draw = random.Random(3)
        killed = 0
        for _ in range(12):
            out.unlink(missing_ok=True)
            process = start(*command)
            time.sleep(draw.uniform(0, whole))
            process.kill()
            process.communicate()
            killed += process.returncode != 0
            if out.exists():
                self.assertEqual(strict_json(self.done("data", "info", out, "--json").out)["tokens"], want)
        self.assertGreater(killed, 3)
        self.done(*command)
        self.assertEqual(temporaries(self.folder), [], "the next one tidies")

    def test_ctrl_c_stops_it_and_leaves_nothing(self):
        text, out = self.big(48), self.folder / "t.tokens"
        for number in (signal.SIGINT, signal.SIGTERM):
            process = start("data", "prepare", text, "--tokenizer", self.words, "--out", out)
            wait_for_handlers(process)
            wait_for(lambda: temporaries(self.folder), process)
            process.send_signal(number)
            process.communicate(timeout=60)
            self.assertEqual(process.returncode, 128 + number)
            self.assertEqual((out.exists(), temporaries(self.folder)), (False, []))

    def test_a_text_that_changes_while_it_is_read_is_refused(self):
        text, out = self.big(48), self.folder / "t.tokens"
        process = start("data", "prepare", text, "--tokenizer", self.words, "--out", out)
        wait_for(lambda: temporaries(self.folder), process)
        with text.open("r+b") as file:
            file.write(b"another")
        _, told = process.communicate(timeout=60)
        self.assertEqual((process.returncode, out.exists()), (DATA, False), told)
        self.assertIn("was changed while it was read", told.decode())

    def test_a_long_text_takes_little_memory(self):
        text = self.big(96)
        peak = 0
        process = start("data", "prepare", text, "--tokenizer", self.words, "--out", self.folder / "t.tokens")
        status = pathlib.Path(f"/proc/{process.pid}/status")
        first = None
        while process.poll() is None:
            found = re.search(r"RssAnon:\s+(\d+) kB", status.read_text() if status.exists() else "")
            if found:
                peak = max(peak, int(found[1]) << 10)
                if first is None and temporaries(self.folder):
                    first = int(found[1]) << 10
            time.sleep(0.002)
        self.assertEqual(process.communicate() and process.returncode, 0)
        self.assertLess(peak, (first or 0) + PEAK)


if __name__ == "__main__":
    main(at_least=80)

"""Hostile weights and checkpoints: each is refused with its file, and its tensor where that can be, before it harms."""

import json
import os
import shutil
import struct

from support import (CHECKPOINT, CHECKPOINT_FILES, DATA, NUMERICS, RESOURCES, STEPS, TINY, RunCase, limited, makemoe,
                     main, read_safetensors, reseal, safetensors, seal, strict_json, together, tree)

NAN, INFINITY = struct.pack("<f", float("nan")), struct.pack("<f", float("inf"))
ROUTER = "blocks.0.smoe.router.topkroute_linear.weight"
GUARD = limited(AS=3 << 30)  # [bytes] what slips through fails here instead of taking the machine


def hostile_headers(content):
    """{label: (bytes, phrases)}: what no reader of safetensors may accept. `content` is a sound file."""
    header, data = read_safetensors(content)
    names = [n for n in header if n != "__metadata__"]
    by_offset = sorted(names, key=lambda n: header[n]["data_offsets"])
    first, second, last = by_offset[0], by_offset[1], by_offset[-1]
    raw = content[8 : 8 + struct.unpack("<Q", content[:8])[0]]

    def length(value):
        return struct.pack("<Q", value) + content[8:]

    def changed(name, says=None, **entry):
        out = {n: dict(e) for n, e in header.items()}
        out[name].update(entry)
        return safetensors({n: {k: v for k, v in e.items() if v is not ...} for n, e in out.items()}, data), says or name

    def raw_entry(text):
        return safetensors(b'{"w": ' + text + b"}", b"\0" * 16), '"w"'

    begin, end = header[first]["data_offsets"]
    begin_2, end_2 = header[second]["data_offsets"]
    begin_n, end_n = header[last]["data_offsets"]
    shape = header[first]["shape"]
    return {
        "nothing": (b"", "too short"),
        "seven bytes": (content[:7], "too short"),
        "header length 0": (length(0), "header length 0"),
        "header one byte beyond the file": (length(len(content) - 7), "header length"),
        "header length 2^32": (length(1 << 32), "header length"),
        "header length 2^63": (length(1 << 63), str(1 << 63)),
        "header length 2^64-1": (length((1 << 64) - 1), str((1 << 64) - 1)),
        "header length cuts the JSON": (length(len(raw) // 2), "header"),
        "header is a list": (safetensors(b"[]"), "object"),
        "header is null": (safetensors(b"null"), "object"),
        "header is empty text": (safetensors(b"        "), "header"),
        "header is no JSON": (safetensors(b"weights!"), "line 1, column 1"),
        "header with a comment": (safetensors(b"{} // x "), "header"),
        "header with a BOM": (safetensors("\ufeff{}".encode()), "byte-order mark"),
        "header with a NUL": (safetensors(b'{"w\0":1}'), "NUL"),
        "header not UTF-8": (safetensors(b'{"\xff\xfe": 1}'), "UTF-8"),
        "objects 10,000 deep": (safetensors(b'{"a":' * 10_000 + b"1" + b"}" * 10_000), "nested"),
        "lists 10,000 deep": (safetensors(b'{"a":' + b"[" * 10_000), "nested"),
        "lists a million deep": (safetensors(b"[" * 1_000_000), "nested"),
        "metadata is a list": (safetensors(b'{"__metadata__": []}'), "__metadata__"),
        "metadata with a number": (safetensors(b'{"__metadata__": {"format": 3}}'), "format"),
        "a name twice": (safetensors(b'{"w": {"dtype":"F32","shape":[4],"data_offsets":[0,16]},'
                                     b'"w": {"dtype":"F32","shape":[4],"data_offsets":[0,16]}}', b"\0" * 16), '"w"'),
        "a key of a tensor twice": (safetensors(b'{"w": {"dtype":"F32","dtype":"F32","shape":[4],"data_offsets":[0,16]}}',
                                                b"\0" * 16), "dtype"),
        "a tensor that is a number": raw_entry(b"3"),
        "a tensor without keys": raw_entry(b"{}"),
        "no dtype": changed(first, dtype=...),
        "no shape": changed(first, shape=...),
        "no offsets": changed(first, data_offsets=...),
        "a key too many": changed(first, stride=1),
        "unknown dtype": changed(first, dtype="F4"),
        "dtype in small letters": changed(first, dtype="f32"),
        "dtype is a number": changed(first, dtype=32),
        "dtype of another size": changed(first, dtype="F64"),
        "shape is a number": changed(first, shape=5),
        "a negative size": changed(first, shape=[-1, *shape]),
        "two negative sizes": changed(first, shape=[-shape[0], -1, *shape[1:]]),
        "a size with a fraction": changed(first, shape=[1.0, *shape]),
        "a size in quotes": changed(first, shape=["1", *shape]),
        "a size of 1e400": raw_entry(b'{"dtype":"F32","shape":[1e400],"data_offsets":[0,16]}')[:1] + ("1e400",),
        "a size that is NaN": raw_entry(b'{"dtype":"F32","shape":[NaN],"data_offsets":[0,16]}')[:1] + ("NaN",),
        "a size of 2^63": changed(first, shape=[1 << 63]),
        "a size of 2^64": changed(first, shape=[1 << 64]),
        "sizes whose product overflows": changed(first, shape=[1 << 32, 1 << 32, 1 << 32]),
        "sizes whose product comes round to 0": changed(first, shape=[1 << 62, 1 << 2]),
        "sizes whose product comes round to fit": changed(first, shape=[(1 << 62) + (end - begin) // 4]),
        "a shape of more bytes": changed(first, shape=[*shape, 2]),
        "offsets end first": changed(first, data_offsets=[end, begin]),
        "negative offsets": changed(first, data_offsets=[-4, end]),
        "offsets with a fraction": changed(first, data_offsets=[0.5, end]),
        "three offsets": changed(first, data_offsets=[begin, end, end]),
        "one offset": changed(first, data_offsets=[begin]),
        "offsets beyond the file": changed(last, data_offsets=[begin_n + 4, end_n + 4]),
        "offsets near 2^64": changed(first, data_offsets=[(1 << 64) - 1 - end, (1 << 64) - 1]),
        "offsets of 2^64": changed(first, data_offsets=[1 << 64, (1 << 64) + end]),
        "overlapping tensors": changed(second, data_offsets=[begin_2 - 4, end_2 - 4]),
        "the same bytes twice": (safetensors(b'{"v": {"dtype":"F32","shape":[4],"data_offsets":[0,16]},'
                                             b'"w": {"dtype":"F32","shape":[4],"data_offsets":[0,16]}}', b"\0" * 16),
                                 "overlaps"),
        "a hole at the front": (safetensors({n: {**e, "data_offsets": [o + 4 for o in e["data_offsets"]]}
                                             for n, e in header.items() if n != "__metadata__"}, b"\0" * 4 + data),
                                ("hole", first)),
        "a hole between": (safetensors({n: e for n, e in header.items() if n != second}, data), "hole"),
        "one byte too many": (content + b"x", "1 bytes follow"),
        "a kilobyte too many": (content + b"x" * 1000, "1000 bytes follow"),
        "one byte missing": (content[:-1], last),
        "no tensors, but data": (safetensors(b"{}", b"data"), "4 bytes follow"),
        "a pickle": (b"\x80\x02}q\x00X\x05\x00\x00\x00" + b"weights" * 99, "header length"),
        "a zip archive": (b"PK\x03\x04" + b"\0" * 400, "header"),
    }


class Truncated(RunCase):
    def test_a_checkpoint_cut_or_grown_to_any_length_is_refused_with_its_file(self):
        cases = {}
        for name in (*CHECKPOINT_FILES, "manifest.json"):
            content = self.last.joinpath(name).read_bytes()
            for size in (0, 9, len(content) // 2, len(content) - 1, len(content) + 1):
                folder = self.copy_of_checkpoint(f"{name}-{size}")
                folder.joinpath(name).write_bytes((content + b"x")[:size])
                cases[f"{name} of {size} bytes"] = (("info", folder), folder / name)
        self.refuse_all(CHECKPOINT, cases)

    def test_a_checkpoint_with_a_flipped_bit_is_refused_with_its_file_and_tensor(self):
        cases = {}
        for name in ("model.safetensors", "optimizer.safetensors"):
            content = self.last.joinpath(name).read_bytes()
            header, data = read_safetensors(content)
            tensors = [n for n in header if n != "__metadata__"]
            for tensor in tensors[:: max(1, len(tensors) // 4)]:
                begin, end = header[tensor]["data_offsets"]
                cases[f"{name}, {tensor}"] = (name, len(content) - len(data) + (begin + end) // 2, tensor)
            for at in (0, 8, 100, len(content) - len(data) - 1):
                cases[f"{name}, header byte {at}"] = (name, at, "")
        for name in ("state.json", "config.json", "tokenizer.json", "manifest.json"):
            size = self.last.joinpath(name).stat().st_size
            for at in (0, size // 2, size - 1):
                cases[f"{name}, byte {at}"] = (name, at, "")
        commands = {}
        for number, (label, (name, at, tensor)) in enumerate(cases.items()):
            folder = self.copy_of_checkpoint(str(number))
            content = bytearray(folder.joinpath(name).read_bytes())
            content[at] ^= 1 << number % 8
            folder.joinpath(name).write_bytes(content)
            commands[label] = (("info", folder), (folder / name, tensor))
        self.refuse_all(CHECKPOINT, commands)

    def test_a_missing_file_is_refused_with_its_name(self):
        cases = {}
        for name in CHECKPOINT_FILES:
            folder = self.copy_of_checkpoint(f"without-{name}")
            folder.joinpath(name).unlink()
            cases[name] = (("info", folder), folder / name)
            folder = self.copy_of_checkpoint(f"folder-{name}")
            folder.joinpath(name).unlink()
            folder.joinpath(name).mkdir()
            cases[f"{name} is a folder"] = (("info", folder), folder / name)
        self.refuse_all(CHECKPOINT, cases)


class Weights(RunCase):
    """The same hostile files through `import`, and inside of a checkpoint whose manifest fits them."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        exported = cls.home / "weights.safetensors"
        result = makemoe("export", cls.run_folder, "--format", "makemoe", "--out", exported)
        assert result.code == 0, result
        cls.exported = exported.read_bytes()
        cls.config = cls.home / "one-layer.json"
        config = json.loads(TINY.read_text())
        config["model"]["n_layer"] = 1
        config["threads"] = 1
        cls.config.write_text(json.dumps(config))

    def importing(self, name, content, *arguments):
        weights = self.folder / f"{name}.safetensors"
        weights.write_bytes(content)
        return ("import", weights, "--config", self.config, "--data", self.text, "--out", self.folder / f"{name}-run",
                *arguments)

    def holding(self, name, content, *arguments):
        """A command on a checkpoint with these weights."""
        folder = self.copy_of_checkpoint(name)
        folder.joinpath("model.safetensors").write_bytes(content)
        reseal(folder)
        return ("generate", folder, "--max-new-tokens", 1, *arguments)

    def model(self):
        return self.last.joinpath("model.safetensors").read_bytes()

    def with_values(self, content, values):
        """The file with its tensors' first bytes replaced: {name: bytes}."""
        header, data = read_safetensors(content)
        out = bytearray(content)
        for name, value in values.items():
            at = len(content) - len(data) + header[name]["data_offsets"][0]
            out[at : at + len(value)] = value
        return bytes(out)

    def test_sound_weights_pass(self):
        self.done(*self.importing("sound", self.exported))
        self.done(*self.holding("sound", self.model()))

    def test_hostile_weights_are_not_imported(self):
        cases = {}
        for number, (label, (content, says)) in enumerate(hostile_headers(self.exported).items()):
            command = self.importing(number, content)
            cases[label] = (command, (command[1], *(says if isinstance(says, tuple) else (says,))))
        self.refuse_all(CHECKPOINT, cases)

    def test_hostile_weights_in_a_checkpoint_whose_manifest_fits_are_refused(self):
        cases = {}
        for number, (label, (content, says)) in enumerate(list(hostile_headers(self.model()).items())[::4]):  # one reader
            command = self.holding(number, content)
            cases[label] = (command, (command[1] / "model.safetensors", *(says if isinstance(says, tuple) else (says,))))
        self.refuse_all(CHECKPOINT, cases)

    def test_weights_cut_at_any_length_are_not_imported(self):
        start = len(self.exported) - len(read_safetensors(self.exported)[1])
        lengths = {1, 8, 9, start // 2, start - 1, start, start + 1, *range(start, len(self.exported), len(self.exported) // 5)}
        self.refuse_all(CHECKPOINT, {f"cut to {n}": (self.importing(n, self.exported[:n]), f"{n}.safetensors")
                                     for n in sorted(lengths)})

    def test_a_header_of_many_megabytes_is_read_or_refused_in_good_time(self):
        entries = b",".join(b'"k%07d":""' % i for i in range(1_000_000))
        tensors = b",".join(b'"t%07d":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}' % i for i in range(300_000))
        header, data = read_safetensors(self.exported)
        named = json.dumps(header).encode()[1:]
        beyond = self.folder / "beyond.safetensors"  # sparse: takes no place
        with beyond.open("wb") as file:
            file.write(struct.pack("<Q", 120_000_000))
            file.truncate(130_000_000)
        huge = self.folder / "huge.safetensors"
        with huge.open("wb") as file:
            file.write(self.exported)
            file.truncate(9 << 30)
        many = self.importing("many", safetensors(b'{"__metadata__":{' + entries + b"}," + named, data))
        self.done(*many)
        shutil.rmtree(many[-1])
        self.refuse_all(CHECKPOINT, {
            "300,000 tensors": (self.importing("empty", safetensors(b"{" + tensors + b"," + named, data)), "differences"),
            "a header of 120 MB": (("import", beyond, *many[2:]), (beyond, "header length 120000000")),
            "a file of 9 GB": (("import", huge, *many[2:]), (huge, "larger than")),
        }, preexec_fn=GUARD)

    def test_the_order_of_names_in_a_header_does_not_matter(self):
        header, data = read_safetensors(self.exported)
        command = self.importing("reversed", safetensors(dict(reversed(header.items())), data))
        self.done(*command)
        exported = self.folder / "again.safetensors"
        self.done("export", command[-1], "--format", "makemoe", "--out", exported)
        self.assertTrue(exported.read_bytes() == self.exported)

    def test_all_differences_from_the_model_are_listed_at_once_and_nothing_is_made(self):
        def mixed(content):
            header, data = read_safetensors(content)
            out, at, kept = {}, 0, b""
            by_offset = sorted((n for n in header if n != "__metadata__"), key=lambda n: header[n]["data_offsets"])
            for number, name in enumerate(by_offset):
                begin, end = header[name]["data_offsets"]
                piece, entry = data[begin:end], dict(header[name])
                if name == "lm_head.bias":
                    continue  # missing
                if name == "lm_head.weight":
                    entry["shape"] = [entry["shape"][0] * entry["shape"][1]]
                if name == ROUTER:
                    entry["dtype"] = "I32"
                out[name] = {**entry, "data_offsets": [at, at + len(piece)]}
                at, kept = at + len(piece), kept + piece
            for name in ("blocks.7.ln1.weight", "ze\u0000ro\x1b[31m"):  # extra; the second would colour a terminal
                out[name] = {"dtype": "F32", "shape": [1], "data_offsets": [at, at + 4]}
                at, kept = at + 4, kept + b"\0" * 4
            return safetensors(out, kept)

        says = ("lm_head.bias", "missing", "lm_head.weight", "shape", ROUTER, "I32", "blocks.7.ln1.weight", "5 differences")
        cases = {"import": (self.importing("mixed", mixed(self.exported)), says),
                 "checkpoint": (self.holding("mixed", mixed(self.model())), says)}
        self.refuse_all(CHECKPOINT, cases)
        result = makemoe(*cases["import"][0])
        self.assertNotIn("\x1b", result.err)

    def test_weights_of_another_shape_are_refused(self):
        other = self.folder / "other.json"
        cases = {}
        for key, value, says in (("n_embed", 36, "(36"), ("n_head", 8, "heads.7"), ("n_layer", 2, "blocks.1."),
                                 ("block_size", 17, "position_embedding_table"), ("num_experts", 5, "experts.4"),
                                 ("num_experts", 3, "experts.3")):
            config = json.loads(self.config.read_text())
            (config["model"]["moe"] if key == "num_experts" else config["model"])[key] = value
            other = self.folder / f"{key}-{value}.json"
            other.write_text(json.dumps(config))
            command = list(self.importing(f"{key}-{value}", self.exported))
            command[command.index(self.config)] = other
            cases[f"{key} {value}"] = (command, says)
        self.refuse_all(CHECKPOINT, cases)

    def test_nan_and_infinity_are_refused_with_every_tensor_that_holds_them_unless_asked_for(self):
        bad = {"lm_head.bias": NAN, ROUTER: INFINITY, "token_embedding_table.weight": b"\0\0\xc0\xff"}
        cases = {"import": (self.importing("nan", self.with_values(self.exported, bad)), tuple(bad)),
                 "generate": (self.holding("nan", self.with_values(self.model(), bad)), (*bad, "--allow-nonfinite")),
                 "eval": (("eval", self.folder / "nan"), tuple(bad))}
        self.refuse_all(CHECKPOINT, cases)
        self.done(*cases["import"][0], "--allow-nonfinite")
        self.done("info", self.folder / "nan-run")
        for command in (("eval", self.folder / "nan"), cases["generate"][0], ("generate", self.folder / "nan", "--json"),
                        ("generate", self.folder / "nan", "--temperature", 0)):
            with self.subTest(command):
                self.assert_clean(result := makemoe(*command, "--allow-nonfinite"))
                self.assertEqual(result.code, NUMERICS, result)

    def test_values_that_are_too_large_for_a_float_are_refused(self):
        header, data = read_safetensors(self.exported)
        name = "lm_head.bias"
        begin, end = header[name]["data_offsets"]
        wide = struct.pack(f"<{(end - begin) // 4}d", *([1e300] * ((end - begin) // 4)))
        at, out, kept = 0, {}, b""
        for other in sorted(header, key=lambda n: header[n]["data_offsets"]):
            piece = wide if other == name else data[slice(*header[other]["data_offsets"])]
            out[other] = {**header[other], "data_offsets": [at, at + len(piece)]}
            at, kept = at + len(piece), kept + piece
        out[name]["dtype"] = "F64"
        self.refuse_all(CHECKPOINT, {"F64 1e300": (self.importing("wide", safetensors(out, kept)), name)})

    def test_hostile_moments_are_refused_on_resume(self):
        content = self.last.joinpath("optimizer.safetensors").read_bytes()
        header, data = read_safetensors(content)
        start = len(content) - len(data)
        step = start + header["step"]["data_offsets"][0]
        moment = next(n for n in header if n.startswith("exp_avg_sq."))
        contents = {"NaN": (self.with_values(content, {moment: NAN}), moment),
                    "a negative step": (content[:step] + struct.pack("<q", -1) + content[step + 8 :], "step"),
                    "no tensors": (safetensors(b"{}"), "missing"),
                    "the weights instead": (self.model(), "exp_avg."),
                    "nothing": (b"", "too short")}
        cases = {}
        for number, (label, (content, says)) in enumerate(contents.items()):
            run, checkpoint = self.copy_of_run(str(number))
            checkpoint.joinpath("optimizer.safetensors").write_bytes(content)
            reseal(checkpoint)
            cases[label] = (("train", "--resume", "--out", run, "--set", f"train.max_iters={STEPS + 1}"),
                            ("optimizer", says))
        self.refuse_all(CHECKPOINT, cases)

    def test_what_is_no_weights_file_is_refused(self):
        command = self.importing("x", self.exported)
        cases = {"absent": (("import", self.folder / "absent", *command[2:]), "absent"),
                 "a folder": (("import", self.folder, *command[2:]), "folder"),
                 "/dev/null": (("import", "/dev/null", *command[2:]), "/dev/null"),
                 "a JSON file": (("import", TINY, *command[2:]), TINY)}
        self.refuse_all(CHECKPOINT, cases)


class Manifest(RunCase):
    """Manifests that fit themselves: their checksum is right, what they say is not."""

    def hostile(self):
        """{label: change of the manifest, or its text}."""
        def files(**changes):
            def change(manifest):
                for name, value in changes.items():
                    manifest["files"][name.replace("__", ".")] = value
            return change

        def entry(**changes):
            return lambda manifest: manifest["files"]["state.json"].update(changes)

        def without(*path):
            def change(manifest):
                for key in path[:-1]:
                    manifest = manifest[key]
                del manifest[path[-1]]
            return change

        def value(key, value):
            return lambda manifest: manifest.__setitem__(key, value)

        def also(name):
            """One more file, whose size and sum are right wherever the name leads."""
            def change(manifest):
                manifest["files"][name] = dict(manifest["files"]["state.json"])
            return change

        outside = self.home / "outside"
        outside.write_bytes(self.last.joinpath("state.json").read_bytes())
        cases = {f"without {name}": without("files", name) for name in CHECKPOINT_FILES}
        cases |= {f"a file named {json.dumps(name)}": also(name) for name in (
            "../state.json", "..", ".", "", "/etc/passwd", str(outside), "a/../state.json", "./state.json", "state.json/",
            "..\\state.json", "state.json\0", "absent.json", "\n")}
        cases |= {f"without {key}": without(key) for key in ("format_version", "step", "files", "tensors")}
        cases |= {f"files is {json.dumps(v)}": value("files", v) for v in (None, [], {}, "x", 3)}
        cases |= {f"tensors is {json.dumps(v)}": value("tensors", v) for v in (None, [], "x")}
        cases |= {f"step is {json.dumps(v)}": value("step", v) for v in (None, -1, 1.5, "3", 1 << 63, 1 << 64, STEPS + 1)}
        cases |= {f"format_version is {json.dumps(v)}": value("format_version", v) for v in (0, -1, 1.5, "1", None, [1])}
        cases |= {f"state.json is {json.dumps(v)}": files(state__json=v) for v in (None, [], {}, 3)}
        cases |= {f"size is {json.dumps(v)}": entry(size=v) for v in (None, -1, 1.5, "9", 1 << 63, (1 << 64) - 1, 0)}
        cases |= {f"sha256 is {json.dumps(v)}": entry(sha256=v) for v in (None, 5, "", "00" * 32, [])}
        cases |= {f"the text {text[:12]!r}": text for text in (
            "", "{}", "[]", "null", "{" * 10_000, '{"checksum": 3}', '{"checksum": ""}', seal({}), "\0", "\ufeff{}")}
        return cases

    def test_a_manifest_that_fits_itself_but_nothing_else_is_refused(self):
        cases = {}
        for number, (label, change) in enumerate(self.hostile().items()):
            folder = self.copy_of_checkpoint(str(number))
            if callable(change):
                reseal(folder, change)
            else:
                folder.joinpath("manifest.json").write_text(change)
            cases[label] = (("info", folder), folder)
        self.refuse_all(CHECKPOINT, cases)

    def test_another_seal_is_refused(self):
        manifest = json.loads(self.last.joinpath("manifest.json").read_text())
        cases = {}
        for number, checksum in enumerate((None, "", 0, "0" * 64, manifest["checksum"].upper(), [manifest["checksum"]])):
            folder = self.copy_of_checkpoint(str(number))
            folder.joinpath("manifest.json").write_text(json.dumps({**manifest, "checksum": checksum}, indent=1) + "\n")
            cases[repr(checksum)] = (("info", folder), folder / "manifest.json")
        self.refuse_all(CHECKPOINT, cases)

    def test_a_newer_format_is_refused_with_both_versions(self):
        folder = self.copy_of_checkpoint("newer")
        reseal(folder, lambda manifest: manifest.__setitem__("format_version", 73))
        self.refuse_all(CHECKPOINT, {c: ((c, folder), ("73", "1", "newer")) for c in ("info", "eval", "generate")})

    def test_a_newest_checkpoint_with_a_hostile_manifest_is_passed_over_on_resume(self):
        for number, label in enumerate(("without model.safetensors", "files is null", "size is -1")):
            run = self.folder / str(number)
            shutil.copytree(self.run_folder, run)
            reseal(run / "checkpoints" / self.last.name, self.hostile()[label])
            result = self.done("train", "--resume", "--out", run)
            self.assertIn(self.last.name, result.err)
            self.assertIn("falling back", result.err)
            self.assert_same_end(run, self.run_folder)

    def test_a_checkpoint_under_the_name_of_another_step_is_refused_or_known_for_what_it_is(self):
        run, checkpoint = self.copy_of_run()
        checkpoint.rename(checkpoint.with_name("step-00000777"))
        result = makemoe("train", "--resume", "--out", run)
        self.assert_clean(result)
        self.assertIn(result.code, (0, CHECKPOINT), result)
        if result.code == 0:
            self.assertIn(f"resuming at step {STEPS}", result.err)


class Contents(RunCase):
    """Files that fit their manifest and hold nonsense."""

    def sealed(self, name, file, content):
        run, checkpoint = self.copy_of_run(name)
        checkpoint.joinpath(file).write_bytes(content if isinstance(content, bytes) else content.encode())
        reseal(checkpoint)
        return run, checkpoint

    def test_a_hostile_state_is_refused_on_resume_and_changes_nothing(self):
        state = json.loads(self.last.joinpath("state.json").read_text())
        texts = {"": "", "list": "[]", "null": "null", "object": "{}", "deep": "[" * 10_000, "twice": '{"step": 3, "step": 3}',
                 "NaN": '{"step": NaN}', "1e400": '{"step": 1e400}', "binary": "\0\1\2"}
        for key in ("step", "tokens", "best_step", "best_val_loss", "last_val_loss", "evaluations_without_best", "data",
                    "data_sha256", "threads", "device", "times"):
            texts[f"no {key}"] = json.dumps({k: v for k, v in state.items() if k != key})
        for key, values in {"step": (-1, 1.5, "3", None, 1 << 63, 1 << 64, True), "tokens": (-1, "x", 2.5, 1 << 64),
                            "best_step": ("x", 1 << 64, -9), "best_val_loss": ("NaN", True, []), "data": ([], None, "x"),
                            "evaluations_without_best": (-1, "x"), "threads": ("x", -1, None), "device": (3, None),
                            "times": (None, [], {}, {"seconds": "x"}), "data_sha256": (3, None)}.items():
            for value in values:
                texts[f"{key} {value}"] = json.dumps({**state, key: value})
        for key, value in (("drawn", -1), ("drawn", "x"), ("drawn", 1.5), ("drawn", 1 << 64), ("epoch", -2), ("epoch", None),
                           ("in_epoch", -1)):
            texts[f"data.{key} {value}"] = json.dumps({**state, "data": {**state["data"], key: value}})
        texts["data without drawn"] = json.dumps({**state, "data": {}})
        cases = {}
        for number, (label, text) in enumerate(texts.items()):
            run, checkpoint = self.sealed(str(number), "state.json", text)
            cases[label] = (("train", "--resume", "--out", run, "--set", f"train.max_iters={STEPS + 1}"), "state.json")
        self.refuse_all(CHECKPOINT, cases)

    def test_a_data_cursor_beyond_its_epoch_does_no_harm(self):
        run = self.folder / "epochs"
        self.assertEqual(self.train_small(run, "--set", "data.order=epoch").code, 0)
        checkpoint = run / "checkpoints" / self.last.name
        state = json.loads(checkpoint.joinpath("state.json").read_text())
        for other in (run / "checkpoints").glob("step-*"):
            if other != checkpoint:
                shutil.rmtree(other)
        for number, cursor in enumerate(({"in_epoch": 10**15}, {"epoch": 2**62}, {"epoch": 0, "in_epoch": 2**63 - 1},
                                         {"drawn": 2**63 - 1})):
            with self.subTest(cursor):
                copy = self.folder / str(number)
                shutil.copytree(run, copy)
                hostile = copy / "checkpoints" / checkpoint.name
                hostile.joinpath("state.json").write_text(json.dumps({**state, "data": {**state["data"], **cursor}}))
                reseal(hostile)
                result = makemoe("train", "--resume", "--out", copy, "--set", f"train.max_iters={STEPS + 1}")
                self.assert_clean(result)
                self.assertIn(result.code, (0, CHECKPOINT), result)

    def test_a_hostile_config_in_a_checkpoint_is_refused(self):
        config = json.loads(self.last.joinpath("config.json").read_text())

        def model(**changes):
            return json.dumps({**config, "model": {**config["model"], **changes}})

        texts = {"": "", "list": "[]", "null": "null", "deep": "[" * 10_000, "unknown key": json.dumps({**config, "x": 1}),
                 "no layers": model(n_layer=0), "a layer in quotes": model(n_layer="1"), "half a layer": model(n_layer=1.5),
                 "2^63 layers": model(n_layer=1 << 63), "n_head": model(n_head=5), "kernels": model(kernels="slow"),
                 "dropout": model(dropout=1.0), "model is a list": json.dumps({**config, "model": []}),
                 "extends": json.dumps({"extends": "/etc/passwd"}), "1e400": '{"seed": 1e400}'}
        cases = {}
        for number, (label, text) in enumerate(texts.items()):
            _, checkpoint = self.sealed(str(number), "config.json", text)
            cases[label] = (("generate", checkpoint, "--max-new-tokens", 1), "config.json")
        self.refuse_all(CHECKPOINT, cases)
        cases = {}
        for label, text in {"another width": model(n_embed=64), "another depth": model(n_layer=2),
                            "another context": model(block_size=8)}.items():
            _, checkpoint = self.sealed(label, "config.json", text)
            cases[label] = (("generate", checkpoint, "--max-new-tokens", 1), ("model.safetensors", "differences"))
        self.refuse_all(CHECKPOINT, cases)

    def test_a_config_of_a_huge_model_is_refused_before_it_is_built(self):
        config = json.loads(self.last.joinpath("config.json").read_text())
        cases = {}
        for n_embed, n_layer, experts in ((16384, 512, 1024), (8192, 100, 64), (2048, 8, 64), (32, 512, 1024)):
            changed = {**config, "model": {**config["model"], "n_embed": n_embed, "n_layer": n_layer,
                                           "moe": {**config["model"]["moe"], "num_experts": experts}}}
            _, checkpoint = self.sealed(f"{n_embed}-{n_layer}", "config.json", json.dumps(changed))
            for command in ("generate", "eval"):
                cases[f"{command} {n_embed} {n_layer}"] = ((command, checkpoint), ())
        self.refuse_all((CHECKPOINT, RESOURCES), cases, preexec_fn=GUARD)

    def hostile_tokenizers(self):
        tokenizer = json.loads(self.last.joinpath("tokenizer.json").read_text())
        vocab = tokenizer["model"]["vocab"]
        symbols = list(vocab)

        def with_vocab(vocab):
            return json.dumps({**tokenizer, "model": {**tokenizer["model"], "vocab": vocab}}, ensure_ascii=False)

        return {"": "", "list": "[]", "null": "null", "object": "{}", "deep": '{"model":' * 10_000, "no model": '{"version": "1.0"}',
                "model is a list": '{"model": []}', "no vocab": '{"model": {}}', "empty vocab": with_vocab({}),
                "vocab is a list": with_vocab(symbols), "an id of -1": with_vocab({**vocab, symbols[0]: -1}),
                "an id of 2^31": with_vocab({**vocab, symbols[-1]: 1 << 31}), "an id of 0.5": with_vocab({**vocab, symbols[0]: 0.5}),
                "an id in quotes": with_vocab({**vocab, symbols[0]: "0"}), "an id twice": with_vocab({**vocab, symbols[1]: 0}),
                "an id left out": with_vocab({s: i + (i > 2) for i, s in enumerate(symbols)}),
                "two symbols in one": with_vocab({**vocab, "zz": len(vocab)}), "no symbol": with_vocab({"": 0}),
                "out of order": with_vocab({s: i for i, s in enumerate(reversed(symbols))}),
                "a symbol twice": '{"model": {"vocab": {"a": 0, "a": 1}}}',
                "a lone surrogate": '{"model": {"vocab": {"\\ud800": 0}}}',
                "merges": json.dumps({**tokenizer, "model": {**tokenizer["model"], "merges": ["a b"]}}),
                "not UTF-8": b'{"model": {"vocab": {"\xff": 0}}}'}

    def test_a_hostile_tokenizer_in_a_checkpoint_is_refused(self):
        cases = {}
        for number, (label, text) in enumerate(self.hostile_tokenizers().items()):
            _, checkpoint = self.sealed(str(number), "tokenizer.json", text)
            cases[label] = (("generate", checkpoint, "--max-new-tokens", 1), "tokenizer.json")
        self.refuse_all(CHECKPOINT, cases)

    def test_a_hostile_tokenizer_is_refused_by_import(self):
        cases = {}
        for number, (label, text) in enumerate(list(self.hostile_tokenizers().items())[::3]):  # one reader
            vocabulary = self.folder / f"{number}.json"
            vocabulary.write_bytes(text if isinstance(text, bytes) else text.encode())
            cases[label] = (("import", self.last / "model.safetensors", "--config", TINY, "--vocab", vocabulary,
                             "--out", self.folder / f"{number}-out"), vocabulary)
        self.refuse_all(DATA, cases)

    def test_a_vocabulary_of_another_size_is_refused(self):
        tokenizer = json.loads(self.last.joinpath("tokenizer.json").read_text())
        symbols = list(tokenizer["model"]["vocab"])
        cases = {}
        for label, kept in {"fewer": symbols[:-1], "more": [*symbols, "\U0010ffff"], "one": symbols[:1]}.items():
            tokenizer["model"]["vocab"] = {s: i for i, s in enumerate(kept)}
            _, checkpoint = self.sealed(label, "tokenizer.json", json.dumps(tokenizer))
            cases[label] = (("generate", checkpoint, "--max-new-tokens", 1), ("lm_head", "token_embedding_table"))
        self.refuse_all(CHECKPOINT, cases)

    def test_another_vocabulary_is_refused_with_the_first_symbols_that_differ(self):
        text = self.text.read_text()
        other = self.folder / "other"
        cases = {}
        for label, (changed, says) in {
            "more symbols": (text + "☃é", ("☃", "U+2603", "U+00E9")),
            "fewer symbols": (text.replace("e", "").replace("a", ""), ("'a'", "U+0061", "U+0065")),
            "others": (text.replace("e", "Ж"), ("U+0416", "U+0065")),
        }.items():
            other = self.folder / label
            other.write_text(changed)
            arguments = [a if a != self.text else other for a in self.small]
            cases[label] = (("train", *arguments, "--init-from", self.run_folder, "--out", self.folder / f"{label}-out"), says)
        self.refuse_all(CHECKPOINT, cases)
        self.refuse_all(DATA, {f"eval: {label}": (("eval", self.run_folder, "--data", self.folder / label), says)
                               for label, says in (("more symbols", "U+2603"), ("others", "U+0416"))})

    def test_weights_of_another_shape_are_not_taken_to_begin_with(self):
        cases = {key: (("train", *self.small, "--set", f"{key}={value}", "--init-from", self.run_folder, "--out",
                        self.folder / f"{key}-out"), says)
                 for key, value, says in (("model.n_embed", 64, "(64"), ("model.n_layer", 2, "blocks.1."),
                                          ("model.moe.num_experts", 5, "experts.4"))}
        for number, name in enumerate(("absent", f"{self.run_folder}@99", self.folder)):
            cases[str(name)] = (("train", *self.small, "--init-from", name, "--out", self.folder / str(number)), str(name).split("@")[0])
        self.refuse_all(CHECKPOINT, cases)


class Names(RunCase):
    def test_what_names_no_checkpoint_is_refused(self):
        run = self.run_folder
        empty = self.folder / "step-00000009"
        empty.mkdir()
        names = [self.folder / "absent", self.folder, empty, f"{run}@99", f"{run}@-1", f"{run}@", f"{run}@x", f"{run}@best/..",
                 f"{run}@1e3", f"{run}@99999999999999999999", f"{run}@../..", run / "checkpoints", run / "run.json", "/dev/null",
                 "", "@", "@best", "x" * 5000, b"\xff\xfe", "\x1b[31m", self.last / "state.json", f"{self.last}@best"]
        self.refuse_all(CHECKPOINT, {repr(name): (("info", name), ()) for name in names})

    def test_hints_are_only_hints(self):
        steps = {}
        for number, content in enumerate((b"", b"step-99999999\n", b"../../outside\n", b"\xff\0" * 50, b"x" * 5000, None, "folder")):
            run = self.folder / str(number)
            shutil.copytree(self.run_folder, run)
            for name in ("best", "last"):
                hint = run / "checkpoints" / name
                hint.unlink()
                if content == "folder":
                    hint.mkdir()
                elif content is not None:
                    hint.write_bytes(content)
            steps[run] = content
        for run, result in zip(steps, together(lambda run: makemoe("info", run, "--json"), steps)):
            with self.subTest(steps[run]):
                self.assertEqual(result.code, 0, result)
                self.assertEqual(strict_json(result.out)["step"], STEPS)
        for run, result in zip(steps, together(lambda run: makemoe("train", "--resume", "--out", run), steps)):
            with self.subTest(steps[run], command="resume"):
                self.assertEqual(result.code, 0, result)

    def test_stray_entries_among_the_checkpoints_are_passed_over(self):
        run, _ = self.copy_of_run()
        folder = run / "checkpoints"
        for name in (".tmp-step-00000009", ".tmp-old-5", "step-", "step-x", "step-1e3", "step--1", "notes"):
            (folder / name).mkdir()
        (folder / "step-00000008").write_text("a file")
        (folder / "step-00000007").symlink_to(folder / "absent")
        self.assertEqual(strict_json(self.done("info", run, "--json").out)["step"], STEPS)
        (folder / "step-00000777").mkdir()
        self.assert_refused(makemoe("info", f"{run}@last"), CHECKPOINT, "step-00000777")
        result = self.done("train", "--resume", "--out", run)
        self.assertIn("step-00000777", result.err)
        self.assert_same_end(run, self.run_folder)

    def test_a_damaged_checkpoint_that_is_named_never_falls_back(self):
        run = self.folder / "run"
        shutil.copytree(self.run_folder, run)
        (run / "checkpoints" / self.last.name / "state.json").write_text("{}")
        before = tree(run)
        self.refuse_all(CHECKPOINT, {name: (("info", f"{run}{name}"), self.last.name) for name in ("@last", "@best", f"@{STEPS}", "")})
        self.assertEqual(tree(run), before)
        self.done("info", f"{run}@{STEPS - 1}")

    def test_a_run_whose_checkpoints_are_all_damaged_is_not_trained_anew(self):
        run = self.folder / "run"
        shutil.copytree(self.run_folder, run)
        for checkpoint in (run / "checkpoints").glob("step-*"):
            os.truncate(checkpoint / "model.safetensors", 100)
        self.refuse_all(CHECKPOINT, {"resume": (("train", "--resume", "--out", run), "every checkpoint is damaged")})


if __name__ == "__main__":
    main(at_least=300)

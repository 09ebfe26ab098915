"""Hostile weights files: each is refused with its file, and its tensor where that can be, before it harms."""

import json
import shutil
import struct

from support import (CHECKPOINT, NUMERICS, STEPS, TINY, RunCase, USAGE, limited, main, makemoe, read_safetensors,
                     reseal, safetensors)

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
        "unknown dtype": changed(first, "\"F33\" is not known", dtype="F33"),
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
        "a pickle": (b"\x80\x02}q\x00X\x05\x00\x00\x00" + b"weights" * 99, "Python pickle"),
        "a zip archive": (b"PK\x03\x04" + b"\0" * 400, "zip archive"),
    }


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

    def test_an_export_says_what_to_change_in_the_original(self):
        said = self.done("export", self.run_folder, "--out", self.folder / "w.safetensors").err
        self.assertEqual(said.count("warning: "), 1, said)
        for says in ("model.attention_scale is not n_embed (in Head, write k.shape[-1]**-0.5 for C**-0.5)",
                     "model.moe.noise_in_eval is not true (in NoisyTopkRouter, add noise only if self.training)"):
            self.assertIn(says, said)
        self.assertNotIn("model.moe.gate", said)
        run = self.folder / "published"
        self.train_small(run, "--set", "model.attention_scale=n_embed", "--set", "model.moe.noise_in_eval=true")
        self.assertNotIn("warning", self.done("export", run, "--out", self.folder / "w.safetensors").err)
        self.train_small(self.folder / "gate", "--set", "model.moe.router=topk", "--set", "model.moe.gate=sigmoid")
        said = self.done("export", self.folder / "gate", "--out", self.folder / "w.safetensors").err
        self.assertIn("model.moe.router is not noisy_topk", said)
        self.assertIn("model.moe.gate is not topk_softmax", said)
        self.assertNotIn("noise_in_eval", said)

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
            "a file of 9 GB": (("import", huge, *many[2:]), (huge, "follow the last tensor")),
        }, preexec_fn=GUARD)

    def test_weights_of_other_kinds_are_named_with_what_makes_safetensors_of_them(self):
        from_torch = "PK\x03\x04" + "\0" * 26 + "archive/data.pkl"
        kinds = {
            "torch.save": (from_torch.encode() + b"\x80\x02}.", ("weights_only=True", "save_file", "safetensors.torch")),
            "an old torch.save": (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", ("pickle", "torch.load", "save_file")),
            "npz": (b"PK\x03\x04" + b"\0" * 26 + b"lm_head.weight.npy\x93NUMPY", ("NumPy", "safetensors.numpy")),
            "npy": (b"\x93NUMPY\x01\0v\0", "NumPy"), "HDF5": (b"\x89HDF\r\n\x1a\n" + b"\0" * 9, "HDF5"),
            "gzip": (b"\x1f\x8b" + b"\0" * 99, "gunzip"), "a page": (b"\n<!DOCTYPE html><html><title>Log in</title>", "web page"),
            "a Git LFS pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git lfs pull"),
            "an index": (b'{\n  "metadata": {"total_size": 9}, "weight_map": {"a": "model-00001-of-00002.safetensors"}}', ("weight_map", "save_file")),
        }
        cases = {}
        for number, (label, (content, says)) in enumerate(kinds.items()):
            command = self.importing(f"kind-{number}", content)
            cases[label] = (command, (command[1], *(says if isinstance(says, tuple) else (says,))))
        self.refuse_all(CHECKPOINT, cases)

    def test_a_tensor_of_another_dtype_is_no_damage_and_comes_with_the_line_that_converts_it(self):
        header, data = read_safetensors(self.exported)
        name = "lm_head.bias"
        count = header[name]["shape"][0]
        cases = {}
        for dtype, size in (("I8", 1), ("F8_E4M3", 1), ("F8_E5M2", 1), ("F8_E8M0", 1), ("C64", 8), ("I32", 4), ("F4", 0.5)):
            changed, at, kept = {}, 0, b""
            for other in sorted(header, key=lambda n: header[n]["data_offsets"]):
                piece = b"\0" * int(count // 2 * 2 * size) if other == name else data[slice(*header[other]["data_offsets"])]
                changed[other] = {**header[other], "data_offsets": [at, at + len(piece)]}
                at, kept = at + len(piece), kept + piece
            changed[name] |= {"dtype": dtype, "shape": [count // 2 * 2]}  # an even number, for F4
            command = self.importing(dtype, safetensors(changed, kept))
            cases[dtype] = (command, (f'"{name}": dtype {dtype}, F32 is wanted', "python3 -c", "v.float()"))
        self.refuse_all(CHECKPOINT, cases)
        self.assertNotIn("damaged", makemoe(*cases["I8"][0]).err)

    def test_what_stands_before_every_name_is_taken_off_with_a_notice_where_the_rest_fits(self):
        header, data = read_safetensors(self.exported)
        for number, prefix in enumerate(("module.", "_orig_mod.module.", "model.")):
            command = self.importing(f"prefixed-{number}", safetensors({prefix + name: entry for name, entry in header.items()}, data))
            self.assertIn(f'the prefix "{prefix}" was taken off', self.done(*command).err)
        again = self.folder / "again.safetensors"
        self.done("export", command[-1], "--format", "makemoe", "--out", again)
        self.assertTrue(again.read_bytes() == self.exported)
        lacking = {f"module.{name}": entry for name, entry in header.items() if name != "lm_head.bias"}
        lacking["other"] = header["lm_head.bias"]
        command = self.importing("lacking", safetensors(lacking, data))
        self.refuse_all(CHECKPOINT, {"one missing": (command, ('the prefix "module." taken off', '"lm_head.bias": missing', "2 differences", '"other"'))})

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
                 "/dev/null": (("import", "/dev/null", *command[2:]), "/dev/null"),
                 "a JSON file": (("import", TINY, *command[2:]), TINY)}
        self.refuse_all(CHECKPOINT, cases)
        self.refuse_all(USAGE, {"a folder, which has its own vocabulary": (("import", self.folder, *command[2:]), "folder")})


if __name__ == "__main__":
    main(at_least=95)

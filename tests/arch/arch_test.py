"""The layering of the rooms, checked for every #include: the table in src/CMakeLists.txt decides.

Environment: MAKEMOE_SOURCE_DIR, the project's folder; MAKEMOE_ROOMS, the table as CMake wrote it
(lines "room:dependency,dependency").
"""

import os
import pathlib
import re
import unittest

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', re.MULTILINE)
UNFINISHED = re.compile(r"\b(TODO|FIXME)\b")
TORCH = re.compile(r"^(torch|ATen|c10|c10d|caffe2)/")
LOGGING = re.compile(r"^(spdlog|fmt)/")
TORCH_FREE = ("base", "spec", "config", "tracking", "data", "store", "exchange", "sweep", "report")
TOP = "cli"
TYPE = re.compile(r"^(?:struct|class|enum class) (\w+)[^;\n]*$", re.MULTILINE)
CONSTANT = re.compile(r"^(?:constexpr|const)\b.*", re.MULTILINE)
CONSTANT_NAME = re.compile(r"\b(k[A-Z]\w*) ?[={]")
CODE = {".h", ".cpp", ".cu", ".cuh"}


def parse_rooms(text):
    rooms = {}
    for line in text.split():
        name, _, deps = line.partition(":")
        rooms[name] = {dep for dep in deps.split(",") if dep}
    return rooms


def room_of(path):
    """include/moe/ROOM/..., src/ROOM/...; None for what is in no room."""
    parts = path.split("/")
    if parts[:2] == ["include", "moe"] and len(parts) > 3:
        return parts[2]
    if parts[0] == "src" and len(parts) > 2:
        return parts[1]
    return None


class Tree:
    """The sources as {path from the project's folder: text}."""

    def __init__(self, sources, rooms):
        self.sources = sources
        self.rooms = rooms
        self.includes = {
            path: [name for _, name in INCLUDE.findall(text)] for path, text in sources.items()
        }

    def resolve(self, path, name):
        """The file of ours that `name` in `path` means, or None."""
        beside = os.path.normpath(os.path.join(os.path.dirname(path), name))
        for candidate in ("include/" + name, beside, "src/" + name, name):
            if candidate in self.sources:
                return candidate
        return None

    def foreign(self, path):
        """Each header outside the project that `path` includes, through ours too."""
        seen, waiting, found = {path}, [path], set()
        while waiting:
            current = waiting.pop()
            for name in self.includes[current]:
                ours = self.resolve(current, name)
                if ours is None:
                    found.add(name)
                elif ours not in seen:
                    seen.add(ours)
                    waiting.append(ours)
        return found

    def layering(self):
        problems = []
        for path, names in self.includes.items():
            room = room_of(path)
            if room not in self.rooms:
                continue
            for name in names:
                ours = self.resolve(path, name)
                parts = name.split("/")
                other = parts[1] if parts[0] == "moe" and len(parts) > 2 else None
                if ours is not None:
                    other = room_of(ours)
                if other is None or other == room:
                    continue
                if other not in self.rooms[room]:
                    problems.append(f"{path}: room {room} may not include {name}")
                elif ours is not None and ours.startswith("src/"):
                    problems.append(f"{path}: {name} is private to room {other}")
        return problems

    def torch_in_free_rooms(self):
        return [
            f"{path}: room {room_of(path)} is torch-free, yet reaches {name}"
            for path in self.sources
            if room_of(path) in TORCH_FREE
            for name in sorted(self.foreign(path))
            if TORCH.match(name)
        ]

    def torch_with_logging(self):
        """libtorch brings its own fmt: a file that sees both may mix two of them."""
        problems = []
        for path in self.sources:
            foreign = self.foreign(path)
            logging = sorted(filter(LOGGING.match, foreign))
            if logging and any(map(TORCH.match, foreign)):
                problems.append(f"{path}: reaches libtorch and {logging[0]}")
        return problems

    def names_of_two_files(self):
        """Types and constants of .cpp files of one folder, which may be compiled as one (ADR 25)."""
        owners = {}
        for path, text in self.sources.items():
            if not path.endswith(".cpp"):
                continue
            constants = CONSTANT_NAME.findall("\n".join(CONSTANT.findall(text)))
            for name in {*TYPE.findall(text), *constants}:
                owners.setdefault((os.path.dirname(path), name), []).append(path)
        return [f"{name}: in {' and '.join(paths)}" for (_, name), paths in owners.items() if len(paths) > 1]

    def unknown_rooms(self):
        if TOP not in self.rooms:  # a build without libtorch: its table has not all rooms
            return []
        found = {room_of(path) for path in self.sources} - {None}
        return [f"room {room} is not in the table" for room in sorted(found - set(self.rooms))]


def read_tree(root, folders):
    sources = {}
    for folder in folders:
        for path in sorted((root / folder).rglob("*")):
            if path.suffix in CODE and path.is_file():
                sources[path.relative_to(root).as_posix()] = path.read_text(encoding="utf-8")
    return sources


class RoomsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.root = pathlib.Path(os.environ["MAKEMOE_SOURCE_DIR"])
        rooms = parse_rooms(pathlib.Path(os.environ["MAKEMOE_ROOMS"]).read_text(encoding="utf-8"))
        cls.tree = Tree(read_tree(cls.root, ["include", "src"]), rooms)

    def assert_none(self, problems):
        self.assertEqual([], problems, "\n" + "\n".join(problems))

    def test_finds_sources(self):
        self.assertTrue(self.tree.sources)
        self.assertTrue(self.tree.rooms)

    def test_table_has_no_cycle(self):
        done = set()
        rooms = dict(self.tree.rooms)
        while rooms:
            ready = [room for room, deps in rooms.items() if deps <= done]
            self.assertTrue(ready, f"these depend on one another: {sorted(rooms)}")
            for room in ready:
                done.add(room)
                del rooms[room]

    def test_every_room_is_in_the_table(self):
        self.assert_none(self.tree.unknown_rooms())

    def test_includes_follow_the_table(self):
        self.assert_none(self.tree.layering())

    def test_torch_free_rooms_reach_no_torch(self):
        self.assert_none(self.tree.torch_in_free_rooms())

    def test_torch_and_logging_do_not_meet(self):
        self.assert_none(self.tree.torch_with_logging())

    def test_files_of_a_folder_share_no_name(self):
        tree = Tree(read_tree(self.root, ["src", "tests"]), self.tree.rooms)
        self.assert_none(tree.names_of_two_files())

    def test_nothing_is_left_unfinished(self):
        folders = ["include", "src", "tests", "bench"]
        self.assert_none(
            [
                f"{path}: {word}"
                for path, text in read_tree(self.root, folders).items()
                for word in UNFINISHED.findall(text)
            ]
        )


class CheckerTest(unittest.TestCase):
    """Each rule catches what it forbids."""

    ROOMS = parse_rooms("base:\ndata:base\nkernels:base\nmodel:base,kernels\ncli:base,kernels,model")

    def tree(self, **extra):
        sources = {
            "include/moe/base/log.h": "#include <string>\n",
            "include/moe/kernels/plan.h": "#include <torch/torch.h>\n",
            "src/kernels/inner.h": "",
        }
        sources.update({path.replace("__", "/") + ".cpp": text for path, text in extra.items()})
        return Tree(sources, self.ROOMS)

    def test_allows_own_room_and_dependencies(self):
        tree = self.tree(
            src__model__a='#include "moe/kernels/plan.h"\n#include "moe/base/log.h"\n',
            src__kernels__b='#include "kernels/inner.h"\n#include "moe/kernels/plan.h"\n',
        )
        self.assertEqual([], tree.layering())
        self.assertEqual([], tree.torch_with_logging())

    def test_catches_an_upward_include(self):
        tree = self.tree(src__kernels__a='#include "moe/model/gone.h"\n')
        self.assertEqual(1, len(tree.layering()))

    def test_catches_a_private_header(self):
        tree = self.tree(src__model__a='#include "kernels/inner.h"\n')
        self.assertEqual(1, len(tree.layering()))

    def test_catches_a_private_header_in_the_command_line_too(self):
        tree = self.tree(src__cli__a='#include "kernels/inner.h"\n#include "moe/model/gone.h"\n')
        self.assertEqual(1, len(tree.layering()))

    def test_catches_torch_through_a_header(self):
        tree = self.tree(src__data__a='#include "moe/kernels/plan.h"\n')
        self.assertEqual(1, len(tree.torch_in_free_rooms()))

    def test_catches_torch_beside_spdlog(self):
        tree = self.tree(src__model__a='#include <spdlog/spdlog.h>\n#include "moe/kernels/plan.h"\n')
        self.assertEqual(1, len(tree.torch_with_logging()))

    def test_catches_a_name_of_two_files(self):
        tree = self.tree(
            src__model__a="constexpr int kTop = 1, kSide = 2;\nstruct Row {\n};\n",
            src__model__b="struct Row;\nconst int kSide{3};\n",
            src__base__c="struct Row {\n};\n",
        )
        self.assertEqual(tree.names_of_two_files(), ["kSide: in src/model/a.cpp and src/model/b.cpp"])

    def test_catches_a_room_without_a_line(self):
        self.assertEqual(1, len(self.tree(src__extra__a="").unknown_rooms()))


if __name__ == "__main__":
    unittest.main()

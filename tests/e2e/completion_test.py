"""The completions and the manual page say what the command line takes: each shell, and groff, is asked itself."""

import functools
import re
import shutil
import subprocess
import unittest

from support import SOURCE, USAGE, Case, makemoe

DRIVER = """
source "$1"
shift
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
compopt() { :; }  # outside of a real completion it only complains
_makemoe
printf '%s\\n' "${COMPREPLY[@]}"
"""

# zsh completes in a terminal only: one is made, a line typed, and what it lists is printed.
ZSH_DRIVER = """
zmodload zsh/zpty
zpty shell zsh -f -i
drain() { local some; while zpty -rt shell some; do :; sleep 0.05; done }
zpty -w shell 'PS1=; unsetopt zle_bracketed_paste; fpath=('$1' $fpath); autoload -Uz compinit; compinit -u -D; LISTMAX=9999; bindkey "^I" list-choices; print REA""DY'
zpty -r shell answer '*READY*'
zpty -n -w shell "$2"$'\\t'
sleep 1
zpty -n -w shell $'\\C-u print DO""NE\\n'
zpty -r shell answer '*DONE*'
print -r -- "$answer"
"""


@functools.cache
def help_of(*path):
    return makemoe(*path, "--help").out


def commands_of(text):
    """The names under "Subcommands:"."""
    section = text.partition("\nSubcommands:\n")[2].split("\n\n")[0]
    return re.findall(r"^  (\S+)", section, re.MULTILINE)


def options_of(text):
    return re.findall(r"(?:^  |,)(-{1,2}[\w-]+)", text.partition("\nOptions:\n")[2].split("\n\n")[0], re.MULTILINE)


def every_path(path=()):
    yield path
    for name in commands_of(help_of(*path)):
        yield from every_path((*path, name))


class Completion(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.paths = list(every_path())
        for shell, name in (("bash", "makemoe"), ("zsh", "_makemoe")):
            result = makemoe("completion", shell)
            if result.code != 0:
                raise AssertionError(result)
            (cls.home / name).write_text(result.out)

    def complete(self, *words):
        done = subprocess.run(["bash", "--norc", "-c", DRIVER, "driver", self.home / "makemoe", "makemoe", *words],
                              capture_output=True, text=True, timeout=60)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout.split()

    def test_there_are_commands(self):
        self.assertIn(("track", "push"), self.paths)
        self.assertIn(("train",), self.paths)

    def test_bash_offers_every_command_and_every_option_of_it(self):
        for path in self.paths:
            with self.subTest(path):
                text = help_of(*path)
                self.assertEqual(self.complete(*path, "-"), options_of(text))
                if commands_of(text):
                    self.assertEqual(self.complete(*path, ""), commands_of(text))

    def test_bash_offers_what_begins_as_the_word_does(self):
        self.assertEqual(self.complete("tr"), ["train", "track"])
        self.assertEqual(self.complete("train", "--res"), ["--resume"])
        self.assertEqual(self.complete("completion", "z"), ["zsh"])
        self.assertEqual(self.complete("eval", "--split", "v"), ["val"])
        self.assertEqual(self.complete("eval", "--split", "=", "v"), ["val"])
        self.assertEqual(self.complete("eval", "--split", "="), ["train", "val", "all"])

    def test_bash_offers_config_keys_and_leaves_files_to_the_shell(self):
        keys = [line.split()[0] + "=" for line in makemoe("config", "defaults").out.splitlines()]
        self.assertEqual(self.complete("train", "--set", ""), keys)
        self.assertEqual(self.complete("train", "--set", "model.moe.t"), ["model.moe.top_k="])
        for words in (("train", "--data", ""), ("eval", ""), ("track", "push", "")):
            self.assertEqual(self.complete(*words), [], words)

    def test_an_option_s_value_that_is_named_as_a_command_changes_nothing(self):
        self.assertIn("--stop-after", self.complete("train", "--out", "eval", "--"))

    def zsh(self, line):
        done = subprocess.run(["zsh", "-f", "-c", ZSH_DRIVER, "driver", self.home, line],
                              capture_output=True, text=True, timeout=60)
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", " ", done.stdout)

    @unittest.skipUnless(shutil.which("zsh"), "zsh is not installed")
    def test_zsh_offers_commands_options_and_keys(self):
        for line, wanted in (("makemoe ", [name for name in commands_of(help_of())]),
                             ("makemoe track ", ["push"]),
                             ("makemoe train --", [o for o in options_of(help_of("train")) if o.startswith("--")]),
                             ("makemoe eval --split ", ["train", "val", "all"]),
                             ("makemoe train --set model.moe.", ["model.moe.top_k", "model.moe.router"])):
            with self.subTest(line):
                listed = self.zsh(line)
                for name in wanted:
                    self.assertIn(name, listed)

    @unittest.skipUnless(shutil.which("zsh"), "zsh is not installed")
    def test_zsh_reads_its_script(self):
        done = subprocess.run(["zsh", "-n", self.home / "_makemoe"], capture_output=True, text=True, timeout=60)
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_another_shell_is_refused(self):
        self.assertEqual(makemoe("completion", "tcsh").code, USAGE)


class Manual(Case):
    def shown(self):
        result = makemoe("man")
        self.assertEqual(result.code, 0)
        if not shutil.which("groff"):
            self.skipTest("groff is not installed")
        done = subprocess.run(["groff", "-man", "-ww", "-rLL=200n", "-Tascii", "-P-cbou"], input=result.out, capture_output=True,
                              text=True, timeout=60)
        self.assertEqual((done.returncode, done.stderr), (0, ""), "groff warns of nothing")
        return done.stdout

    def test_it_holds_every_command_option_and_config_key(self):
        text = self.shown()
        for path in every_path():
            with self.subTest(path):
                section = text if not path else text.partition("   makemoe " + " ".join(path) + "\n")[2]
                self.assertTrue(section, "the command has a section")
                for option in options_of(help_of(*path)):
                    if option not in ("-h", "--help", "--version"):
                        self.assertIn(option, section)
        for line in makemoe("config", "defaults").out.splitlines():
            self.assertIn(line.split()[0], text)
        for heading in ("NAME", "SYNOPSIS", "EXIT STATUS", "ENVIRONMENT"):
            self.assertIn(f"\n{heading}\n", text)

    def test_its_exit_codes_are_those_of_the_documentation(self):
        page = [line.split() for line in self.shown().splitlines()]
        for text in ((SOURCE / name).read_text() for name in ("README.md", "docs/formats.md")):
            section = text.partition("\n## Exit codes\n")[2].partition("\n## ")[0]
            rows = re.findall(r"^\| (\d+|128\+n) \| ([^|]+) \|", section, re.MULTILINE)
            self.assertEqual([code for code, _ in rows], ["0", "1", "2", "3", "4", "5", "6", "128+n"])
            for code, meaning in rows:
                self.assertIn([code, *meaning.split()], page)


if __name__ == "__main__":
    unittest.main()

"""Where results go, and what a disk may refuse without ending a run: pipes, devices, links, old locks, other users' folders."""

import fcntl
import os
import stat
import subprocess
import threading

from support import (BINARY, CHECKPOINT, RESOURCES, STEPS, USAGE, RunCase, environment, main, makemoe, start, strict_json, temporaries,
                     wait_for)

NOBODY = 65534
ENDLESS = ("--set", "train.max_iters=100000000", "--set", "train.eval_interval=100000000", "--set", "train.checkpoint_interval=50")


def in_a_mount_namespace(script, *arguments):
    """The result of a shell script that may mount, or None where this user may not."""
    if subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode != 0:
        return None
    return subprocess.run(["unshare", "-m", "sh", "-c", script, "sh", *map(str, arguments)], capture_output=True, env=environment({}))


class Results(RunCase):
    """Every command that writes a result where --out says."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        definition = cls.home / "sweep.json"
        definition.write_text('{"base": {"train": {"max_iters": 1}}, "set": {"data.path": "text", "threads": 1, "model.n_embed": 8,'
                              '"model.n_head": 1, "model.n_layer": 1, "model.block_size": 8},'
                              '"space": {"optim.learning_rate": {"choices": [0.01]}}}')
        cls.sweep = cls.home / "sweep"
        result = makemoe("sweep", "run", definition, "--out", cls.sweep)
        if result.code != 0:
            raise AssertionError(result)
        cls.commands = {"export": ("export", cls.run_folder), "report": ("report", cls.run_folder),
                        "sweep export": ("sweep", "export", cls.sweep), "sweep report": ("sweep", "report", cls.sweep)}
        cls.wanted = {}
        for label, command in cls.commands.items():
            out = cls.home / "wanted"
            result = makemoe(*command, "--out", out)
            if result.code != 0:
                raise AssertionError(result)
            cls.wanted[label] = out.read_bytes()

    def to_standard_output(self, *arguments, **options):
        done = subprocess.run([BINARY, *map(str, arguments)], env=environment({}), capture_output=True, **options)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done

    def test_a_device_is_written_to_and_stays(self):
        null = self.folder / "null"
        try:
            os.mknod(null, stat.S_IFCHR | 0o666, os.makedev(1, 3))
        except PermissionError:
            self.skipTest("this user may not make devices")
        link = self.folder / "link"
        link.symlink_to("null")
        for (label, command), out in zip(self.commands.items(), (null, link, null, link)):
            with self.subTest(label, out=out.name):
                self.done(*command, "--out", out)
                self.assertTrue(stat.S_ISCHR(null.lstat().st_mode))
                self.assertTrue(link.is_symlink())
        full = self.folder / "full"
        os.mknod(full, stat.S_IFCHR | 0o666, os.makedev(1, 7))
        self.assert_refused(makemoe(*self.commands["export"], "--out", full), RESOURCES, (full, "No space left"))

    def test_a_pipe_gets_the_result_and_stays(self):
        pipe = self.folder / "pipe"
        os.mkfifo(pipe)
        for label, command in list(self.commands.items())[:3]:
            with self.subTest(label):
                read = []
                reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()), daemon=True)
                reader.start()
                self.done(*command, "--out", pipe)
                self.assertTrue(stat.S_ISFIFO(pipe.lstat().st_mode))
                reader.join(timeout=10)
                self.assertEqual(read, [self.wanted[label]])

    def test_standard_output_by_any_of_its_names_gets_the_result_alone(self):
        link = self.folder / "link"
        link.symlink_to("/proc/self/fd/1")
        for label, out in [*((label, "-") for label in self.commands), ("export", link), ("report", "/proc/self/fd/1")]:
            with self.subTest(label, out=str(out)):
                done = self.to_standard_output(*self.commands[label], "--out", out, cwd=self.folder)
                self.assertEqual(done.stdout, self.wanted[label])
                self.assertEqual([p.name for p in self.folder.iterdir()], ["link"])
                self.assertTrue(link.is_symlink())
        file = self.folder / "file"
        with file.open("wb") as stream:
            stream.write(b"before\n")
            stream.flush()
            subprocess.run([BINARY, "sweep", "export", self.sweep, "--out", "/proc/self/fd/1"], stdout=stream, check=True)
        self.assertEqual(file.read_bytes(), b"before\n" + self.wanted["sweep export"])
        with open("/dev/full", "wb") as full:
            self.assert_refused(makemoe(*self.commands["report"], "--out", "-", stdout=full), RESOURCES, ("standard output", "No space left"))

    def test_a_link_stays_and_its_target_is_replaced_with_its_mode(self):
        target, link = self.folder / "target", self.folder / "link"
        link.symlink_to("target")
        for label, command in list(self.commands.items())[:3]:
            with self.subTest(label):
                target.write_text("old")
                target.chmod(0o640)
                self.done(*command, "--out", link)
                self.assertTrue(link.is_symlink())
                self.assertEqual(target.read_bytes(), self.wanted[label])
                self.assertEqual(stat.S_IMODE(target.stat().st_mode), 0o640)
        loop = self.folder / "loop"
        loop.symlink_to("loop")
        self.assert_refused(makemoe(*self.commands["export"], "--out", loop), RESOURCES, (loop, "symbolic links"))

    def test_a_new_file_follows_the_umask(self):
        out = self.folder / "out"
        self.done(*self.commands["export"], "--out", out, preexec_fn=lambda: os.umask(0o002))
        self.assertEqual(stat.S_IMODE(out.stat().st_mode), 0o664)

    def test_a_file_that_is_mounted_alone_is_written_in_place(self):
        out, behind = self.folder / "out", self.folder / "behind"
        out.write_text("")
        for fixed in ("true", "mount -o remount,bind,ro . && cd ."):
            behind.write_text("older and longer" * 10_000)
            script = f'cd "$3" && mount --bind . . && cd "$3" && mount --bind behind out && {fixed}; "$1" sweep export "$2" --out out'
            done = in_a_mount_namespace(script, BINARY, self.sweep, self.folder)
            if done is None:
                self.skipTest("this user may not mount")
            with self.subTest(fixed):
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertIn(b"written in place", done.stderr)
                self.assertEqual(behind.read_bytes(), self.wanted["sweep export"])
                self.assertEqual(temporaries(self.folder), [])

    def test_a_disk_and_a_folder_are_refused(self):
        disk = self.folder / "disk"
        try:
            os.mknod(disk, stat.S_IFBLK | 0o600, os.makedev(250, 250))
        except PermissionError:
            self.skipTest("this user may not make devices")
        self.refuse_all(RESOURCES, {label: ((*command, "--out", out), out) for (label, command), out
                                    in zip(self.commands.items(), (disk, self.folder, disk, disk))})


class Volumes(RunCase):
    def test_a_fresh_volume_is_taken_as_it_comes(self):
        for furniture in ("lost+found", ".Trash-1000"):
            out = self.folder / furniture / "volume"
            (out / furniture).mkdir(parents=True)
            result = self.train_small(out, "--stop-after", 0)
            self.assertEqual(result.code, 0, result)
            self.assertTrue((out / furniture).is_dir())
            self.assert_refused(self.train_small(out), RESOURCES, "already holds files")


class Locks(RunCase):
    """RUN/.lock and a second process."""

    def run_until(self, process, run, rows):
        metrics = run / "metrics.jsonl"
        wait_for(lambda: metrics.exists() and metrics.read_bytes().count(b"\n") >= rows, process)

    def test_a_run_whose_lock_was_removed_stops_before_its_next_write(self):
        run = self.folder / "run"
        first = start("train", *self.small, *ENDLESS, "--out", run)
        self.addCleanup(first.kill)
        self.run_until(first, run, 10)
        (run / ".lock").unlink()
        second = self.train_small(run, *ENDLESS, "--resume", "--stop-after", 200)
        err = first.communicate(timeout=60)[1].decode()
        self.assertEqual(first.returncode, RESOURCES, err)
        self.assertIn(".lock: was removed or replaced", err)
        self.assertEqual(second.code, 0, second)
        after = self.train_small(run, *ENDLESS, "--resume", "--stop-after", 210)
        self.assertEqual(after.code, 0, after)
        steps = [strict_json(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()]
        self.assertEqual(sorted(set(steps)), list(range(211)))
        whole = self.folder / "whole"
        self.assertEqual(self.train_small(whole, *ENDLESS, "--stop-after", 210).code, 0)
        self.assert_same_bytes(run, whole, 210)

    def test_a_run_whose_folder_was_moved_makes_no_second_one(self):
        run, moved = self.folder / "run", self.folder / "moved"
        process = start("train", *self.small, *ENDLESS, "--out", run)
        self.addCleanup(process.kill)
        self.run_until(process, run, 10)
        run.rename(moved)
        err = process.communicate(timeout=60)[1].decode()
        self.assertEqual(process.returncode, RESOURCES, err)
        self.assertFalse(run.exists())

    def test_a_sweep_of_leftovers_leaves_what_another_command_is_writing(self):
        run, _ = self.copy_of_run()
        (run / ".tmp-left").write_text("x")
        living = run / ".tmp-report.html-0123abcd"
        with living.open("w") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            self.done("train", "--resume", "--out", run)
            self.assertEqual(temporaries(run), [living])
        self.done("train", "--resume", "--out", run)
        self.assertEqual(temporaries(run), [])


class Disks(RunCase):
    """What a file system may lack, and what it may not let go."""

    def assert_survives(self, fault, says):
        run = self.folder / fault
        result = self.train_small(run, "--stop-after", 1, env={"MAKEMOE_TEST_FAULT": fault})
        self.assertEqual(result.code, 0, result)
        result = self.train_small(run, "--resume", env={"MAKEMOE_TEST_FAULT": fault})
        self.assertEqual(result.code, 0, result)
        self.assertEqual(result.err.count("warning: "), 1, result.err)
        self.assertIn(says, result.err)
        self.assert_same_end(run, self.run_folder)

    def test_a_file_system_without_locks_or_syncs_of_folders_is_warned_of_once(self):
        self.assert_survives("ENOLCK@locking", "the file system has no locks")
        self.assert_survives("EINVAL@fsync", "folders cannot be synced here")

    def test_an_old_checkpoint_that_can_not_be_removed_is_warned_of_once(self):
        self.assert_survives("EPERM@removing", "Operation not permitted")
        self.assertNotEqual(temporaries(self.folder), [])
        self.done("train", "--resume", "--out", self.folder / "EPERM@removing")
        self.assertEqual(temporaries(self.folder), [])

    def test_a_checkpoint_that_may_not_be_changed_blocks_no_run(self):
        run = self.folder / "run"
        self.assertEqual(self.train_small(run, "--stop-after", 2).code, 0)
        fixed = [run / "checkpoints" / "step-00000001", run / "checkpoints" / "step-00000002" / "state.json"]
        left = run / "checkpoints" / ".tmp-step-00000003"
        (left / "sub").mkdir(parents=True)
        (left / "sub" / "file").write_text("x")
        fixed.append(left / "sub")
        if subprocess.run(["chattr", "+i", *fixed], capture_output=True).returncode != 0:
            self.skipTest("this user may not make files immutable")
        try:
            result = self.train_small(run, "--resume")
            self.assertEqual(result.code, 0, result)
            self.assertEqual(result.err.count("warning: "), 1, result.err)
            self.assert_same_end(run, self.run_folder)
            again = self.train_small(run, "--resume", "--set", f"train.max_iters={STEPS + 1}")
            self.assertEqual(again.code, 0, again)
        finally:
            subprocess.run(["chattr", "-R", "-i", run], check=True)
        self.assertEqual(self.train_small(run, "--resume", "--set", f"train.max_iters={STEPS + 2}").code, 0)
        self.assertEqual(temporaries(run), [])
        self.assertEqual(len(list((run / "checkpoints").glob("step-*"))), 2)


class Reasons(RunCase):
    """What cannot be looked at is neither absent nor a bug: each command says why."""

    def commands(self, run):
        return {"info": (("info", run), CHECKPOINT), "eval": (("eval", run), CHECKPOINT), "export": (("export", run, "--out", "-"), CHECKPOINT),
                "report": (("report", run), RESOURCES), "resume": (("train", "--resume", "--out", run), RESOURCES),
                "new run": (("train", *self.small, "--out", run), RESOURCES), "push": (("track", "push", run), RESOURCES),
                "sweep status": (("sweep", "status", run), USAGE), "sweep worker": (("sweep", "worker", run), USAGE)}

    def refuse_each(self, run, says, **options):
        commands = self.commands(run)
        for code in (USAGE, CHECKPOINT, RESOURCES):
            self.refuse_all(code, {f"{label} {str(run)[-9:]}": (command, says) for label, (command, its) in commands.items()
                                   if its == code}, **options)

    def as_nobody(self):
        user = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
        if makemoe("--version", **user).code != 0:
            self.skipTest("nobody may not run the binary")
        return user

    def test_a_name_that_the_system_refuses_has_its_reason(self):
        (self.folder / "loop").symlink_to("loop")
        self.refuse_each(self.folder / "loop", "Too many levels of symbolic links")
        run = self.folder / ("n" * 300)
        self.refuse_all(RESOURCES, {"long, resume": (("train", "--resume", "--out", run), "File name too long"),
                                    "long, report": (("report", run), "File name too long")})

    def test_a_folder_that_may_not_be_read_has_its_reason(self):
        user = self.as_nobody()
        secret = self.folder / "secret"
        secret.mkdir()
        run, _ = self.copy_of_run("secret/run")
        secret.chmod(0)
        try:
            self.refuse_each(run, "Permission denied", **user)
        finally:
            secret.chmod(0o755)

    def test_checkpoints_that_may_not_be_read_are_not_taken_for_none(self):
        user = self.as_nobody()
        run, _ = self.copy_of_run()
        for path in (run, *run.rglob("*")):
            os.chown(path, user.get("user", -1), user.get("group", -1))
        checkpoints = run / "checkpoints"
        checkpoints.chmod(0o300)  # what lies in it could still be opened by name
        says = (checkpoints, "Permission denied")
        try:
            self.refuse_all(CHECKPOINT, {"info": (("info", run), says), "report": (("report", run), says),
                                         "resume": (("train", "--resume", "--out", run), says)}, **user)
        finally:
            checkpoints.chmod(0o755)

    def test_without_proc_training_works_and_a_sweep_says_what_it_needs(self):
        definition = self.folder / "sweep.json"
        definition.write_text('{"set": {"data.path": "%s"}, "space": {"optim.learning_rate": {"choices": [0.01]}}}' % self.text)
        hidden = 'mount -t tmpfs none /proc && exec "$@"'
        done = in_a_mount_namespace(hidden, BINARY, "train", *self.small, "--out", self.folder / "run")
        if done is None or b"mount:" in done.stderr:
            self.skipTest("this user may not mount")
        self.assertEqual(done.returncode, 0, done.stderr)
        done = in_a_mount_namespace(hidden, BINARY, "sweep", "run", definition, "--out", self.folder / "sweep")
        self.assertEqual(done.returncode, RESOURCES, done.stderr)
        self.assertIn(b"/proc/self/exe: cannot be read", done.stderr)


if __name__ == "__main__":
    main(at_least=0)

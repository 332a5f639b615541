"""What a reader relies on and a compiler does not check: every room is whole, includes point one way, errno and architecture stay in
their folders, and no file or function outgrows a page or two."""

import os
import re
import subprocess
import unittest

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# From the top down: a folder includes its own level and those below it.
LEVELS = [
    ["frontends"],
    ["include"],
    ["engine/dump.cpp", "engine/restore.cpp", "engine/c_api.cpp", "engine/c_request", "engine/report"],
    ["engine/resources", "engine/restore_plan", "engine/tree", "engine/tracee", "engine/memory", "engine/image", "engine/request"],
    ["restorer", "parasite"],
    ["arch"],
    ["pie"],
]


def tracked(*patterns):
    listed = subprocess.run(["git", "ls-files", *patterns], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    return listed.stdout.split()


def read(path):
    with open(os.path.join(REPOSITORY, path), encoding="utf-8") as file:
        return file.read()


def sources(*folders):
    return [path for path in tracked(*(f"{folder}/**" for folder in folders)) if path.endswith((".cpp", ".h"))]


def includes(path):
    return re.findall(r'^#include "([^"]+)"', read(path), re.MULTILINE)


def level(path):
    for number, names in enumerate(LEVELS):
        if any(path == name or path.startswith((name + "/", name + ".")) for name in names):
            return number
    return None


def rooms():
    return re.findall(r"^(?:FD|TASK)_ROOM\((\w+)\)", read("engine/resources/rooms.inc"), re.MULTILINE)


class Rooms(unittest.TestCase):
    def test_every_room_has_its_folder_head_comment_and_test(self):
        self.assertTrue(rooms())
        for room in rooms():
            with self.subTest(room=room):
                self.assertTrue(read(f"engine/resources/{room}/{room}.cpp").startswith("//"), "the head comment is missing")
                self.assertTrue(os.path.exists(os.path.join(REPOSITORY, f"tests/engine/resources/{room}/{room}_test.cpp")),
                                f"tests/engine/resources/{room}/{room}_test.cpp is missing")

    def test_every_folder_with_a_table_is_in_the_list(self):
        for path in tracked("engine/resources/*/*.cpp"):
            if re.search(r"^(extern )?const (Fd|Task)Room kRoom", read(path), re.MULTILINE):
                self.assertIn(path.split("/")[2], rooms(), path)

    def test_no_room_includes_another_rooms_source(self):
        for path in sources("engine", "parasite", "restorer", "frontends"):
            for name in includes(path):
                self.assertFalse(name.endswith(".cpp"), f"{path} includes {name}")


class Direction(unittest.TestCase):
    def test_includes_never_point_up(self):
        for path in sources("frontends", "engine", "parasite", "restorer", "pie", "arch"):
            if path.startswith("engine/base/"):
                for name in includes(path):
                    self.assertFalse(name.startswith("engine/") and not name.startswith("engine/base/"), f"{path} includes {name}")
                continue
            mine = level(path)
            for name in includes(path):
                theirs = level(name)
                if mine is not None and theirs is not None and not name.startswith("engine/resources/"):
                    self.assertGreaterEqual(theirs, mine, f"{path} includes {name}")

    def test_the_command_is_a_client_of_the_public_interface(self):
        for path in sources("frontends"):
            for name in includes(path):
                self.assertFalse(name.startswith("engine/"), f"{path} includes {name}")


class Folders(unittest.TestCase):
    def test_errno_is_read_in_base_only(self):
        for path in sources("engine"):
            if path.startswith("engine/base/"):
                continue
            code = re.sub(r"//.*|#include.*", "", read(path))
            self.assertIsNone(re.search(r"\berrno\b", code), path)

    def test_nobody_takes_the_leaders_network_for_the_threads(self):
        # setns(2) moves single threads, and ours go into the namespaces of a tree's sockets.
        for path in sources("engine"):
            self.assertNotIn("/proc/self/ns/net", read(path), path)

    def test_architecture_stays_in_arch(self):
        for path in sources("engine", "pie", "parasite", "restorer", "frontends"):
            self.assertIsNone(re.search(r"__x86_64__|__aarch64__", read(path)), path)

    def test_both_architectures_have_the_same_files(self):
        names = [sorted(path.split("/", 2)[2] for path in tracked(f"arch/{arch}/**")) for arch in ("x86_64", "aarch64")]
        self.assertEqual(*names)


class Documents(unittest.TestCase):
    def test_every_option_of_criu_is_listed_with_what_becomes_of_it(self):
        table = read("frontends/criu/option_table.cpp")
        page = read("docs/criu-options.md")
        options = re.findall(r'^    \{"([\w-]+)", \S+, \w+, k(\w+), "\w*", (?:"([^"]*)"|\w+), ', table, re.MULTILINE)
        self.assertGreater(len(options), 60)
        for name, policy, note in options:
            self.assertRegex(page, rf"\| `--{name}` \| \S* ?\| {policy.lower()}.*{re.escape(note)}", name)
        self.assertEqual(page.count("| `--"), len(options))


class Sizes(unittest.TestCase):
    def test_no_file_is_a_dumping_ground(self):
        for path in sources("engine", "frontends", "pie", "parasite", "restorer", "arch", "tests", "bench"):
            self.assertLessEqual(read(path).count("\n"), 700, path)

    def test_functions_fit_in_a_head(self):
        for path in sources("engine", "frontends", "pie", "parasite", "restorer"):
            lines = read(path).split("\n")
            start = None
            for number, line in enumerate(lines):
                if re.match(r"^[\w\[].*\{$", line) and not line.startswith(("namespace", "struct", "class", "enum", "extern", "union", "constexpr", "const ")):
                    start = number
                elif line.startswith("}") and start is not None:
                    self.assertLessEqual(number - start, 120, f"{path}:{start + 1}")
                    start = None


if __name__ == "__main__":
    unittest.main()

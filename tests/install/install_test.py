"""What is installed works: a C program built with pkg-config and one built with the CMake package take snapshots, the man page is clean, the completion loads,
the Debian package holds it all."""

import glob
import json
import os
import subprocess
import sys
import tempfile
import unittest

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("NATIVECR_BUILD", os.path.join(REPOSITORY, "build/release"))

CLIENT = """
cmake_minimum_required(VERSION 3.25)
project(client C CXX)
find_package(nativecr REQUIRED)
file(WRITE ${CMAKE_BINARY_DIR}/client.cpp "#include <nativecr/nativecr.hpp>\\nint main() { return nativecr::check() ? 0 : 1; }")
add_executable(client ${CMAKE_BINARY_DIR}/client.cpp)
target_link_libraries(client nativecr::nativecr)
"""


def run(argv, **options):
    return subprocess.run(argv, capture_output=True, text=True, check=True, **options).stdout


class Install(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.scratch = tempfile.TemporaryDirectory()
        cls.prefix = os.path.join(cls.scratch.name, "prefix")
        run(["cmake", "--install", BUILD, "--prefix", cls.prefix])
        cls.lib = os.path.dirname(glob.glob(f"{cls.prefix}/lib/**/libnativecr.so", recursive=True)[0])

    @classmethod
    def tearDownClass(cls):
        cls.scratch.cleanup()

    def environment(self):
        return {**os.environ, "PKG_CONFIG_PATH": f"{self.lib}/pkgconfig", "LD_LIBRARY_PATH": self.lib}

    def test_the_c_example_takes_a_snapshot(self):
        flags = run(["pkg-config", f"--define-variable=prefix={self.prefix}", "--cflags", "--libs", "nativecr"],
                    env=self.environment()).split()
        program = os.path.join(self.scratch.name, "snapshot")
        run(["gcc", "-Wall", "-Wextra", "-Werror", "-o", program, f"{REPOSITORY}/examples/snapshot.c", *flags])
        target = subprocess.Popen(["sleep", "1000"], start_new_session=True, stdin=subprocess.DEVNULL,
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            report = json.loads(run([program, str(target.pid), os.path.join(self.scratch.name, "images")], env=self.environment()))
            self.assertEqual(report["tasks"], 1)
            self.assertIsNone(target.poll(), "the target runs on")
        finally:
            target.kill()
            target.wait()

    def test_the_cmake_package_is_found(self):
        source = os.path.join(self.scratch.name, "client")
        os.makedirs(source)
        with open(os.path.join(source, "CMakeLists.txt"), "w", encoding="utf-8") as file:
            file.write(CLIENT)
        run(["cmake", "-S", source, "-B", source + "/build", f"-DCMAKE_PREFIX_PATH={self.prefix}"])
        run(["cmake", "--build", source + "/build"])
        run([source + "/build/client"], env=self.environment())

    def test_only_the_public_interface_is_exported(self):
        symbols = run(["nm", "-D", "--defined-only", f"{self.lib}/libnativecr.so"]).split("\n")
        names = [line.split()[2] for line in symbols if line and " A " not in line]  # A: the version itself
        self.assertTrue(names)
        self.assertEqual([name for name in names if not name.startswith("ncr_")], [])

    def test_the_man_page_is_clean(self):
        for page in ("nativecr.1", "nativecr-criu.1"):
            lint = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", f"{self.prefix}/share/man/man1/{page}"],
                                  capture_output=True, text=True, check=False)
            self.assertEqual(lint.stdout, "")

    def test_criu_is_in_a_folder_of_its_own(self):
        self.assertEqual(os.listdir(f"{self.prefix}/bin"), ["nativecr"])
        self.assertEqual(run([f"{self.prefix}/libexec/nativecr/criu", "--version"]).split("\n")[0], "Version: 4.2")

    def test_the_completion_offers_commands(self):
        script = (f"source {self.prefix}/share/bash-completion/completions/nativecr; COMP_WORDS=(nativecr du); COMP_CWORD=1; "
                  "_nativecr; echo ${COMPREPLY[@]}")
        self.assertEqual(run(["bash", "-c", script]).strip(), "dump")

    def test_the_debian_package_holds_it(self):
        run(["cpack", "-G", "DEB", "-B", self.scratch.name], cwd=BUILD)
        contents = run(["dpkg-deb", "-c", glob.glob(f"{self.scratch.name}/nativecr_*.deb")[0]])
        for name in ("bin/nativecr", "libnativecr.so.0", "include/nativecr/nativecr.h", "man1/nativecr.1", "nativecr.pc", "libexec/nativecr/criu"):
            self.assertIn(name, contents)


if __name__ == "__main__":
    unittest.main(argv=sys.argv)

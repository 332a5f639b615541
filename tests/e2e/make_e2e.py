"""`make -j2` in the middle of a compile survives ten checkpoints, and what it builds is right."""

import os
import subprocess

from harness import Target, check, read, run, tree_of, wait_until

UNITS = 24


def write_project(directory):
    for unit in range(UNITS):
        with open(os.path.join(directory, f"unit{unit}.cpp"), "w", encoding="utf-8") as file:
            file.write("#include <algorithm>\n#include <map>\n#include <regex>\n#include <string>\n#include <vector>\n"
                       f"int unit{unit}() {{ std::map<std::string, int> m{{{{\"a\", {unit}}}}};\n"
                       "  return std::regex_match(\"a\", std::regex(\"[a-c]\")) ? m[\"a\"] : -1; }\n")
    with open(os.path.join(directory, "main.cpp"), "w", encoding="utf-8") as file:
        file.write("#include <cstdio>\n" + "".join(f"int unit{n}();\n" for n in range(UNITS)) +
                   "int main() { std::printf(\"%d\\n\", " + " + ".join(f"unit{n}()" for n in range(UNITS)) + "); }\n")
    with open(os.path.join(directory, "Makefile"), "w", encoding="utf-8") as file:
        objects = " ".join(f"unit{n}.o" for n in range(UNITS)) + " main.o"
        file.write(f"all: {objects}\n\tg++ -o all {objects}\n\ttouch done\n%.o: %.cpp\n\tg++ -O1 -c -o $@ $<\n")


def main():
    with Target(["sh", "-c", "while [ ! -e Makefile ]; do sleep 0.05; done; exec make -j2"], "make") as target:
        write_project(target.dir)
        wait_until(lambda: len(tree_of(target.pid)) >= 4, "the compilers to start")
        for number in range(1, 11):
            check(not os.path.exists(target.path("done")), "the build ended before the tenth checkpoint; give it more units")
            dumped, _ = target.cycle()
            print(f"make: cycle {number}: {dumped['tasks']} tasks, {dumped['image_bytes'] / 1048576:.1f} MiB", flush=True)
            compiled = sum(os.path.exists(target.path(f"unit{n}.o")) for n in range(UNITS))
            wait_until(lambda: sum(os.path.exists(target.path(f"unit{n}.o")) for n in range(UNITS)) > compiled,
                       f"cycle {number}: the build to go on", 120)
        wait_until(lambda: os.path.exists(target.path("done")), "the build to end", 240)
        result = subprocess.run([target.path("all")], capture_output=True, text=True, check=True).stdout.strip()
        check(result == str(sum(range(UNITS))), f"the program says {result}")
        check("Error" not in read(target.log), "make reported an error")


if __name__ == "__main__":
    run(main)

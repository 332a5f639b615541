"""runc asks for memory in steps: dumped ahead and then only what changed, sent to a page server, fetched by the restored
container when it is needed. The container goes on each time, what its memory holds is checked inside."""

import contextlib
import itertools
import os
import subprocess

from containers import NetworkNamespace, Runc, Workplace
from harness import check, run

ADDRESS, PORT = "127.0.0.1", 27277
NUMBERS = 200_000
# Counts as the others do, as long as its memory is what it was: no two pages of it look the same.
PROGRAM = ("secret=$1; all=$(seq 1 %d); n=0; while :; do n=$((n+1)); case ${#all}:$all in %d:1*%d) "
           "echo \"$n $secret\" > /state/count.new; mv /state/count.new /state/count;; esac; sleep 0.05; done"
           ) % (NUMBERS, len("\n".join(map(str, range(1, NUMBERS + 1)))), NUMBERS)


def with_memory(config):
    config["process"]["args"] = ["/bin/sh", "-c", PROGRAM, "sh", config["process"]["args"][-1]]


def pages_in(images):
    path = os.path.join(images, "pages-1.img")
    return os.stat(path).st_size // 4096 if os.path.exists(path) else 0


class Helper:
    """A program that runs beside the test, once it says by one NUL that it is ready."""

    def __init__(self, workplace, network, *arguments, last=()):
        self.name = " ".join(arguments[:2])
        reader, writer = os.pipe()
        self.process = subprocess.Popen(["nsenter", f"--net={network.path}", *arguments, "--status-fd", str(writer), *last],
                                        pass_fds=[writer], env=workplace.environment, stdin=subprocess.DEVNULL)
        os.close(writer)
        said = os.read(reader, 1)
        os.close(reader)
        check(said == b"\0", f"{self.name} does not get ready")

    def check_done(self):
        status = self.process.wait(60)
        check(status == 0, f"{self.name}: exit {status}")


def check_ahead(workplace):
    """Two cycles, each with the memory dumped ahead once or twice."""
    with Runc(workplace, "pages", with_memory) as container:
        container.start()
        for ahead in (1, 2):
            parents = []
            for step in range(ahead):
                container.images += 1
                parents.append(container.images)
                more = ["--parent-path", f"../images-{parents[step - 1]}"] if step else []
                container.runc("checkpoint", "--pre-dump", "--image-path", container.image_path(), *more)
                container.counter.check_goes_on_from(container.counter.value())
            first = pages_in(os.path.join(container.directory, f"images-{parents[0]}"))
            container.checkpoint("--parent-path", f"../images-{parents[-1]}")
            check(os.path.islink(os.path.join(container.image_path(), "parent")), "there is no link to the parent's image")
            last = pages_in(container.image_path())
            check(0 < last * 4 < first, f"{last} pages after {first} that were dumped ahead")
            before = container.counter.value()
            container.counter.check_stands_still()
            container.restore()
            container.counter.check_goes_on_from(before)


def check_page_server(workplace, network):
    """As callers do: the server puts the pages into the directory that the rest goes to, on the same machine or a mounted one."""
    with Runc(workplace, "pages-sent", with_memory, host=network) as container:
        container.start()
        for _ in range(2):
            container.images += 1
            os.makedirs(container.image_path())
            server = Helper(workplace, network, "criu", "page-server", "--images-dir", container.image_path(), "--address", ADDRESS,
                            "--port", str(PORT))
            container.runc("checkpoint", "--image-path", container.image_path(), "--page-server", f"{ADDRESS}:{PORT}")
            server.check_done()
            check(pages_in(container.image_path()) > 0, "the server has no pages")
            before = container.counter.value()
            container.restore()
            container.counter.check_goes_on_from(before)


def check_lazy(workplace, network):
    """The container runs in its new place before its memory has left the old one, twice."""
    with contextlib.ExitStack() as stack:
        containers = [stack.enter_context(Runc(workplace, f"lazy-{number}", with_memory, host=network)) for number in range(3)]
        containers[0].start()
        for source, target in itertools.pairwise(containers):
            target.counter.secret = source.counter.secret
            images = source.image_path()
            checkpoint = Helper(workplace, network, *source.command[2:], "checkpoint", "--lazy-pages", "--page-server",
                                f"{ADDRESS}:{PORT}", "--image-path", images, last=[source.name])
            before = source.counter.value()
            pager = Helper(workplace, network, "criu", "lazy-pages", "--page-server", "--address", ADDRESS, "--port", str(PORT),
                           "--images-dir", images)
            target.restore("--lazy-pages", "--image-path", images)
            target.counter.check_goes_on_from(before)
            pager.check_done()
            checkpoint.check_done()
            check(source.counter.value() == before, "the container runs where it was, too")
            target.counter.check_goes_on_from(target.counter.value())


def main():
    with Workplace("runc-pages") as workplace, NetworkNamespace("pages") as network:
        network.ip("link", "set", "lo", "up")
        check_ahead(workplace)
        check_page_server(workplace, network)
        check_lazy(workplace, network)


if __name__ == "__main__":
    run(main)

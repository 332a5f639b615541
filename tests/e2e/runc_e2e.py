"""runc checkpoints and restores containers with nativecr as its criu: a plain one twice in a row, one that runs on."""

from containers import Runc, Workplace
from harness import check, run


def check_two_cycles(workplace):
    with Runc(workplace, "plain") as container:
        container.start()
        for _ in range(2):
            container.checkpoint()
            before = container.counter.value()
            container.counter.check_stands_still()
            container.restore()
            container.counter.check_goes_on_from(before)
            check(container.status() == "running", f"runc says it is {container.status()}")


def check_leave_running(workplace):
    with Runc(workplace, "running") as container:
        container.start()
        container.checkpoint("--leave-running")
        before = container.counter.value()
        container.counter.check_goes_on_from(before)
        check(container.status() == "running", f"runc says it is {container.status()}")
        container.runc("delete", "-f")
        container.restore()
        container.counter.check_goes_on_from(before - 1)


def main():
    with Workplace("runc") as workplace:
        check_two_cycles(workplace)
        check_leave_running(workplace)


if __name__ == "__main__":
    run(main)

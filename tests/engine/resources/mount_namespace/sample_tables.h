// The table of a container of runc 1.1 (`runc spec`), and of the machine it runs on.
#pragma once

namespace ncr::mount_namespace {

inline constexpr const char* kMachine =
    "22 27 0:21 / /proc rw,relatime - proc proc rw\n"
    "23 27 0:22 / /sys rw,relatime - sysfs sysfs rw\n"
    "24 27 0:6 / /dev rw,relatime - devtmpfs devtmpfs rw,size=12334460k,mode=755\n"
    "26 24 0:24 / /dev/pts rw,relatime - devpts devpts rw,mode=600,ptmxmode=000\n"
    "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard\n"
    "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n"
    "32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n";

inline constexpr const char* kContainer =
    "67 44 254:0 /bundle/rootfs / ro,relatime - ext4 /dev/vda rw,discard\n"
    "68 67 0:40 / /proc rw,relatime - proc proc rw\n"
    "69 67 0:41 / /dev rw,nosuid - tmpfs tmpfs rw,size=65536k,mode=755\n"
    "70 69 0:42 / /dev/pts rw,nosuid,noexec,relatime - devpts devpts "
    "rw,gid=5,mode=620,ptmxmode=666\n"
    "71 69 0:43 / /dev/shm rw,nosuid,nodev,noexec,relatime - tmpfs shm rw,size=65536k\n"
    "72 69 0:39 / /dev/mqueue rw,nosuid,nodev,noexec,relatime - mqueue mqueue rw\n"
    "73 67 0:44 / /sys ro,nosuid,nodev,noexec,relatime - sysfs sysfs ro\n"
    "74 73 0:45 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime - tmpfs tmpfs rw,mode=755\n"
    "75 74 0:29 /box /sys/fs/cgroup/cpu ro,nosuid,nodev,noexec,relatime - cgroup cgroup rw,cpu\n"
    "48 68 0:40 /sys /proc/sys ro,relatime - proc proc rw\n"
    "49 68 0:46 / /proc/acpi ro,relatime - tmpfs tmpfs ro\n"
    "50 68 0:41 /null /proc/keys rw,nosuid - tmpfs tmpfs rw,size=65536k,mode=755\n"
    "53 69 0:42 /0 /dev/console rw,nosuid,noexec,relatime - devpts devpts rw,gid=5,mode=620\n";

}  // namespace ncr::mount_namespace

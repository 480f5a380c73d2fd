// SPDX-License-Identifier: MIT
// The self-check's look at where the reports of living guards would go.
//
// Runs on any ordinary thread. Nothing is created or written there: what a file system does with a real file can
// still differ.
#pragma once

#include <poll.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <tocsin/posix/doctor_process.hpp>
#include <tocsin/posix/reporter.hpp>

namespace tocsin::posix {

inline constexpr unsigned most_targets = 16;

// Copies of the targets that the reporter knows, taken under the lock; their descriptors may be given back later, and
// then no longer are what they were kept as. Answers how many there are, which may be more than were copied.
inline unsigned copy_targets(table& in, in_signal::report_target* to) noexcept {
    table_lock const locked{in};
    unsigned count = 0;
    // all sources of this service are the first base of a report_job
    for (source* at = in.services[in_signal::reporter].sources; at != nullptr; at = at->next, ++count)
        if (count < most_targets) to[count] = reinterpret_cast<report_job*>(at)->target;
    return count;
}

// A full disk, or one that is read only: what it lacks, or null.
inline char const* trouble_of_disk(int fd) noexcept {
    struct statvfs disk {};
    if (::fstatvfs(fd, &disk) != 0) return nullptr;
    if ((disk.f_flag & ST_RDONLY) != 0) return "its file system is read-only";
    if (disk.f_blocks == 0) return nullptr;  // of no size of its own: /proc, a pipe
    if ((in_signal::system_call(SYS_geteuid) == 0 ? disk.f_bfree : disk.f_bavail) == 0)
        return "its file system is full";
    return disk.f_files != 0 && disk.f_ffree == 0 ? "its file system has no room for a file" : nullptr;
}

// Null if something can be written there now.
inline char const* trouble_of_descriptor(int fd) noexcept {
    int const flags = ::fcntl(fd, F_GETFL);
    if (flags < 0) return "it is closed";
    if ((flags & O_ACCMODE) == O_RDONLY || (flags & O_PATH) != 0) return "it is not open for writing";
    pollfd asked{fd, POLLOUT, 0};
    timespec const at_once{};
    if (::ppoll(&asked, 1, &at_once, nullptr) >= 0) {
        if ((asked.revents & (POLLERR | POLLHUP)) != 0) return "nobody reads it any more";
        if ((asked.revents & POLLOUT) == 0) return "it is full, and nobody reads";
    }
    struct stat found {};
    bool const file = ::fstat(fd, &found) == 0 && S_ISREG(found.st_mode);
    return file ? trouble_of_disk(fd) : nullptr;
}

// What the descriptor is, as far as /proc knows: a path, "pipe:[7]", "socket:[8]".
inline void append_descriptor(in_signal::line& to, int fd) noexcept {
    char what[256];
    in_signal::fixed_line<64> path;
    path.text("/proc/self/fd/").decimal(fd).character('\0');
    long const size = in_signal::system_call(SYS_readlinkat, AT_FDCWD, in_signal::as_word(path.data()),
                                             in_signal::as_word(what), sizeof what);
    to.text("descriptor ").decimal(fd);
    if (size > 0) to.character(' ').quoted(what, static_cast<std::size_t>(size));
}

inline void check_directory(checkup& to, in_signal::report_target const& target) noexcept {
    if (!target.directory.is_same()) {
        to.warning()
            .text("the directory of the reports ")
            .quoted(target.file)
            .text(" was closed behind the guard");
        return to.put("reports go to the guard's descriptor instead");
    }
    int const refused = cannot_create_in(target.directory.fd, ".");
    char const* const disk = refused == 0 ? trouble_of_disk(target.directory.fd) : nullptr;
    if (refused == 0 && disk == nullptr) {
        to.ok().text("reports ").quoted(target.file).text(" can be made in their directory");
        return to.put();
    }
    to.warning().text("the report ").quoted(target.file).text(" cannot be made: ");
    if (disk != nullptr)
        to.line().text(disk);
    else if (refused == ENOENT)
        to.line().text("its directory was removed");
    else
        append_errno(to.line().text("its directory cannot be written, "), refused);
    to.put("reports go to the guard's descriptor instead");
}

inline void check_target(checkup& to, in_signal::report_target const& target) noexcept {
    if (target.directory.fd >= 0) check_directory(to, target);
    if (target.out.fd < 0) return;
    if (!target.out.is_same()) {
        to.warning().text("the descriptor of a guard's reports, ").decimal(target.out.fd);
        to.line().text(", was closed behind the guard: nothing is written");
        return to.put("who closes all numbers does so before the guard");
    }
    char const* const trouble = trouble_of_descriptor(target.out.fd);
    if (trouble == nullptr) {
        append_descriptor(to.ok().text("reports can be written to "), target.out.fd);
        return to.put();
    }
    append_descriptor(to.warning().text("reports would be lost in "), target.out.fd);
    to.line().text(": ").text(trouble);
    to.put("dump_threads.to(fd) or .to_file(path)");
}

// `standard_error` is what is wrong with it, or null.
inline void check_targets(checkup& to, table* in, char const* standard_error) noexcept {
    in_signal::report_target targets[most_targets];
    unsigned const count = in != nullptr ? copy_targets(*in, targets) : 0;
    for (unsigned i = 0; i < count && i < most_targets; ++i) check_target(to, targets[i]);
    if (count > most_targets) {
        to.note().decimal(count - most_targets).text(" more guards' reports were not looked at");
        to.put();
    }
    if (count != 0) return;
    if (standard_error != nullptr) {
        to.warning().text("standard error, where reports go unless told otherwise: ").text(standard_error);
        to.put("dump_threads.to(fd) or .to_file(path)");
    } else {
        to.ok().text("standard error can be written");
        to.put();
    }
}

}  // namespace tocsin::posix

// SPDX-License-Identifier: MIT
// Somebody asks for a report by a local socket or by a file, and gets one; no signal has to be sent.
//
// Runs on any ordinary thread (opening, closing) and on a thread of its own (the reports), which is woken by a request
// and by nothing else. Only the owner of the process and root are answered: the socket has mode 0600 and the other side
// is asked for by SO_PEERCRED (unix(7)); a file counts if it is a regular one that one of the two owns. What has been
// created is removed by the process that created it, and only if it is still there. A forked child closes what it
// has inherited (fork(2) by libc; a bare clone(2) is not noticed) and answers nobody.
#pragma once

#include <poll.h>
#include <pthread.h>
#include <stddef.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <new>

#include <tocsin/posix/reporter.hpp>
#include <tocsin/posix/request_order.hpp>

namespace tocsin::posix {

class request_watch {
  public:
    // Where the request is expected, with {pid} filled in.
    char path[sizeof(sockaddr_un::sun_path) + in_signal::longest_file_name] = {};

    void release() noexcept {
        if (references_.fetch_sub(1) != 1) return;
        drop(ear_);
        drop(ending_);
        drop(place_.directory);
        drop(report_.directory);
        drop(report_.out);
        delete this;
    }

    failure open(request_order const& asked) noexcept;
    void close() noexcept;

  private:
    using target = in_signal::report_target;
    using kept = in_signal::kept_descriptor;

    static void drop(kept& of) noexcept {
        int const fd = of.is_same() ? of.fd : -1;
        of.fd = -1;  // first: a child that is forked in between must not close a number that is another's by then
        if (fd >= 0) ::close(fd);
    }
    static failure refused(char const* call) noexcept { return {errno, call, 0}; }
    static failure keep(kept& to, int opened, char const* call) noexcept {
        if (opened < 0) return refused(call);
        return posix::keep(to, opened);
    }

    failure prepare_reports() noexcept;
    failure find_place() noexcept;
    failure open_socket() noexcept;
    failure open_file() noexcept;
    failure choose_report() noexcept;
    [[gnu::visibility("hidden")]] failure start() noexcept;
    [[gnu::visibility("hidden")]] void list() noexcept;
    void unlist() noexcept;
    void remove_socket() noexcept;
    [[gnu::visibility("hidden")]] static void close_in_child() noexcept;
    [[gnu::visibility("hidden")]] static int watch_forks() noexcept;

    // On the thread.
    static void* run(void* self) noexcept;
    void serve() noexcept;
    bool rest(std::uint64_t nanoseconds) noexcept;
    bool keep_pace() noexcept;
    void answer_caller() noexcept;
    void answer_file() noexcept;
    bool is_named_in_events() noexcept;
    void write_report(int fd) noexcept;

    static bool may_ask(uid_t user) noexcept { return user == 0 || user == ::geteuid(); }
    bool is_abstract() const noexcept { return path[0] == '@'; }
    bool has_ended() const noexcept { return ended_.load() != 0; }
    request_order asked_{};
    table* in_ = nullptr;
    std::int32_t process_ = 0;
    kept ear_;     // the listening socket, or the inotify descriptor
    kept ending_;  // wakes the thread for its end
    target place_;          // the directory, and the name in it
    target report_;         // of a request by a file
    std::uint64_t device_ = 0;  // of the socket's file
    std::uint64_t inode_ = 0;
    bool bound_ = false;
    pthread_t thread_{};
    request_pace pace_;
    in_signal::atomic<std::uint32_t> ended_;
    in_signal::atomic<std::uint32_t> references_{1};  // of the one who opened it, and of its thread
    request_watch* next_ = nullptr;
    request_watch** place_in_list_ = nullptr;  // what points here, in whichever copy of the library

    [[gnu::visibility("hidden")]] static inline constinit request_watch* first_ = nullptr;
};

// --- Opening and closing --------------------------------------------------------------------------------------------

inline failure request_watch::open(request_order const& asked) noexcept {
    asked_ = asked;
    process_ = in_signal::getpid();
    failure no = find_table(in_);
    if (no) return no;
    adopt_process(*in_);
    no = prepare_reports();
    if (!no) no = find_place();
    if (!no && asked_.by_file) no = choose_report();
    if (!no) no = keep(ending_, ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), "eventfd");
    if (!no) no = asked_.by_file ? open_file() : open_socket();
    if (!no) no = start();
    if (no) {
        drop(ear_);
        remove_socket();
    }
    return no;
}

inline void request_watch::close() noexcept {
    bool const here = process_ == in_signal::getpid();
    unlist();
    if (here) {
        if (!asked_.by_file && ear_.is_same()) ::shutdown(ear_.fd, SHUT_RDWR);  // for a child that has it, too
        remove_socket();
        ended_.store(1);
        in_signal::futex_wake(ended_.address(), 1);
        std::uint64_t const one = 1;
        bool wakes = ending_.is_same();
        for (int tries = 3; wakes && ::write(ending_.fd, &one, sizeof one) < 0;) wakes = --tries != 0;
        // Somebody has closed what the thread sleeps on: it sleeps for ever, and keeps this object.
        if (wakes)
            ::pthread_join(thread_, nullptr);
        else
            ::pthread_detach(thread_);
    } else {
        release();  // in the thread's place, which this process does not have
    }
}

inline failure request_watch::prepare_reports() noexcept {
    if (failure const no = provide_desk(*in_)) return no;
    if (asked_.with_signals)
        if (failure const no = provide_captures(*in_)) return no;
    if (asked_.open_lines != nullptr) return asked_.open_lines(in_signal::desk_of(*in_)->lines);
    return {};
}

inline failure request_watch::find_place() noexcept {
    char const* const from = asked_.path;
    if (from == nullptr || *from == '\0') return {EINVAL, "dump_on_request", 0};
    bool const abstract = *from == '@' && !asked_.by_file;
    if (abstract && (from[1] == '\0' || ::strlen(from) > in_signal::longest_file_name))
        return {from[1] == '\0' ? EINVAL : ENAMETOOLONG, "dump_on_request", 0};
    if (!abstract) {
        failure const no = open_directory(from, place_);
        bool const by_name = no.errno_code == EINVAL || no.errno_code == ENAMETOOLONG;
        if (no) return {no.errno_code, by_name ? "dump_on_request" : "open(directory)", 0};
        if (failure const lost = keep(place_.directory, place_.directory.fd, "open(directory)")) return lost;
    }
    in_signal::fixed_line<in_signal::longest_file_name + 1> name;
    in_signal::append_file_name(name, abstract ? from : place_.file, 0);
    std::size_t const before = abstract ? 0 : ::strlen(from) - ::strlen(place_.file);
    if (name.cut() || before + name.size() >= sizeof path) return {ENAMETOOLONG, "dump_on_request", 0};
    ::memcpy(path, from, before);
    ::memcpy(path + before, name.data(), name.size());
    path[before + name.size()] = '\0';
    if (!abstract) ::memcpy(place_.file, path + before, name.size() + 1);
    return {};
}

inline failure request_watch::open_socket() noexcept {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::size_t const size = ::strlen(path);
    if (size >= sizeof address.sun_path) return {ENAMETOOLONG, "bind", 0};
    ::memcpy(address.sun_path, path, size);
    if (is_abstract()) address.sun_path[0] = '\0';
    int const made = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (failure const no = keep(ear_, made, "socket")) return no;
    // The file gets the mode of the socket (unix_bind_bsd in net/unix/af_unix.c): there is no moment at which others
    // may connect, and the process's umask stays as it is.
    if (::fchmod(made, 0600) != 0) return refused("fchmod");
    auto const length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + size + (is_abstract() ? 0 : 1));
    void const* const generic = &address;
    if (::bind(made, static_cast<sockaddr const*>(generic), length) != 0) return refused("bind");
    struct stat file {};
    if (!is_abstract() && ::fstatat(place_.directory.fd, place_.file, &file, AT_SYMLINK_NOFOLLOW) == 0 &&
        S_ISSOCK(file.st_mode)) {
        device_ = file.st_dev;
        inode_ = file.st_ino;
        bound_ = true;
    }
    constexpr int waiting = 16;
    return ::listen(made, waiting) != 0 ? refused("listen") : failure{};
}

inline failure request_watch::open_file() noexcept {
    int const made = ::inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (failure const no = keep(ear_, made, "inotify_init1")) return no;
    in_signal::fixed_line<64> directory;
    directory.text("/proc/thread-self/fd/").decimal(static_cast<std::uint64_t>(place_.directory.fd)).character('\0');
    // touch(1) and a shell's `>` end in a close after writing; an editor or a careful script moves the file there.
    int const added = ::inotify_add_watch(made, directory.data(), IN_CLOSE_WRITE | IN_MOVED_TO | IN_ONLYDIR);
    return added < 0 ? refused("inotify_add_watch") : failure{};
}

inline failure request_watch::choose_report() noexcept {
    int copy = -1;
    failure no = duplicate(asked_.fd, copy);
    if (!no) no = keep(report_.out, copy, "fcntl");
    if (asked_.report_path != nullptr) return open_directory(asked_.report_path, report_);
    if (asked_.directed) return no;
    constexpr char behind[] = ".report";
    std::size_t const size = ::strlen(place_.file);
    if (size + sizeof behind > sizeof report_.file) return {ENAMETOOLONG, "dump_on_request", 0};
    ::memcpy(::strcpy(report_.file, place_.file) + size, behind, sizeof behind);
    if (failure const full = duplicate(place_.directory.fd, copy)) return full;
    return keep(report_.directory, copy, "fcntl");
}

inline failure request_watch::start() noexcept {
    if (int const no = watch_forks()) return {no, "pthread_atfork", 0};
    list();
    references_.fetch_add(1);
    in_signal::kernel_set before;
    set_mask(all_but_faults(*in_), &before);
    int const no = ::pthread_create(&thread_, nullptr, &run, this);
    set_mask(before);
    if (no == 0) return {};
    references_.fetch_sub(1);
    unlist();
    return {no, "pthread_create", 0};
}

// What was there first is not ours to remove, nor is what took our place.
inline void request_watch::remove_socket() noexcept {
    struct stat file {};
    bool const ours = bound_ && place_.directory.is_same() &&
                      ::fstatat(place_.directory.fd, place_.file, &file, AT_SYMLINK_NOFOLLOW) == 0 &&
                      file.st_dev == device_ && file.st_ino == inode_;
    if (ours) ::unlinkat(place_.directory.fd, place_.file, 0);
    bound_ = false;
}

// Both leave the list whole at each step, for a child that is forked meanwhile.
inline void request_watch::list() noexcept {
    table_lock const locked{*in_};
    next_ = first_;
    place_in_list_ = &first_;
    if (next_ != nullptr) next_->place_in_list_ = &next_;
    __atomic_store_n(&first_, this, __ATOMIC_SEQ_CST);
}
inline void request_watch::unlist() noexcept {
    table_lock const locked{*in_};
    __atomic_store_n(place_in_list_, next_, __ATOMIC_SEQ_CST);
    if (next_ != nullptr) next_->place_in_list_ = place_in_list_;
}

// Whoever calls is not to wait in the queue of a process that does not answer.
inline void request_watch::close_in_child() noexcept {
    std::int32_t const self = in_signal::getpid();
    for (request_watch* each = first_; each != nullptr; each = each->next_) {
        if (each->process_ == self) continue;
        drop(each->ear_);
        drop(each->ending_);
    }
}

inline int request_watch::watch_forks() noexcept {
    static int const no = ::pthread_atfork(nullptr, nullptr, &close_in_child);
    return no;
}

// --- On the thread --------------------------------------------------------------------------------------------------

inline void* request_watch::run(void* argument) noexcept {
    auto* const self = static_cast<request_watch*>(argument);
    ::prctl(PR_SET_NAME, "tocsin-request");
    {
        alternate_stack own;
        own.open(self->in_->limit.alternate_stack);
        self->serve();
    }
    self->release();
    return nullptr;
}

inline void request_watch::serve() noexcept {
    while (!has_ended()) {
        pollfd of[2] = {{ear_.fd, POLLIN, 0}, {ending_.fd, POLLIN, 0}};
        if (::poll(of, 2, -1) < 0) {
            if (errno != EINTR) rest(request_pace::each);
            continue;
        }
        if (has_ended()) return;
        // Closed by a program that closes every number it finds. There is nothing left to be asked by.
        if (((of[0].revents | of[1].revents) & POLLNVAL) != 0 || !ear_.is_same()) {
            while (!has_ended()) in_signal::futex_wait(ended_.address(), 0);
            return;
        }
        if (of[0].revents == 0) continue;
        if (asked_.by_file)
            answer_file();
        else
            answer_caller();
    }
}

// False if it is to end meanwhile.
inline bool request_watch::rest(std::uint64_t nanoseconds) noexcept {
    in_signal::futex_wait(ended_.address(), 0, nanoseconds);
    return !has_ended();
}

inline bool request_watch::keep_pace() noexcept {
    while (std::uint64_t const wait = pace_.next(in_signal::monotonic()))
        if (!rest(wait)) return false;
    return true;
}

inline void request_watch::answer_caller() noexcept {
    int const caller = ::accept4(ear_.fd, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (caller < 0) {
        // Without a descriptor to spare the caller stays in the queue, and poll says so at once.
        if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) rest(request_pace::each);
        return;
    }
    ucred who{};
    socklen_t size = sizeof who;
    bool const known = ::getsockopt(caller, SOL_SOCKET, SO_PEERCRED, &who, &size) == 0;
    if (!known || !may_ask(who.uid))
        in_signal::say(caller, "tocsin: only the owner of this process and root get a report\n");
    else if (keep_pace())
        write_report(caller);
    // What it has sent is of no interest, but unread it would turn the end of the report into ECONNRESET.
    char unread[4096];
    for (int round = 0; round < 16 && ::recv(caller, unread, sizeof unread, MSG_DONTWAIT) > 0;) ++round;
    ::shutdown(caller, SHUT_RDWR);  // a child that was forked meanwhile has a copy
    ::close(caller);
}

// What has been asked while the report was being written has been answered by it.
inline void request_watch::answer_file() noexcept {
    if (!is_named_in_events() || !keep_pace()) return;
    int const directory = place_.directory.fd;
    struct stat file {};
    if (!place_.directory.is_same() || ::fstatat(directory, place_.file, &file, AT_SYMLINK_NOFOLLOW) != 0) return;
    if (!S_ISREG(file.st_mode) || !may_ask(file.st_uid)) return;
    int const fd = in_signal::open_report(report_);
    write_report(fd);
    in_signal::close_report(report_, fd);
    struct stat now {};
    bool const same = ::fstatat(directory, place_.file, &now, AT_SYMLINK_NOFOLLOW) == 0 &&
                      now.st_ino == file.st_ino && now.st_dev == file.st_dev;
    if (same) ::unlinkat(directory, place_.file, 0);
}

inline bool request_watch::is_named_in_events() noexcept {
    bool named = false;
    alignas(inotify_event) char events[4096];
    for (ssize_t got; (got = ::read(ear_.fd, events, sizeof events)) > 0;) {
        for (ssize_t at = 0; at < got;) {
            inotify_event head;
            ::memcpy(&head, events + at, sizeof head);
            char const* const name = events + at + sizeof head;
            if ((head.mask & IN_Q_OVERFLOW) != 0 || (head.len != 0 && ::strcmp(name, place_.file) == 0)) named = true;
            at += static_cast<ssize_t>(sizeof head + head.len);
        }
    }
    return named;
}

inline void request_watch::write_report(int fd) noexcept {
    in_signal::report_desk& desk = *in_signal::desk_of(*in_);
    in_signal::report_turn const turn{desk};
    if (!turn.taken()) return in_signal::say(fd, "tocsin: another report does not end\n");
    if (turn.inherited()) in_signal::forget_report(desk);
    in_signal::report_order order;
    order.why = in_signal::occasion::request;
    order.this_thread_only = asked_.this_thread_only;
    order.thread = process_;  // the first thread: who asks is in another process
    in_signal::write_in_steps(*in_, desk, order, fd, asked_.writer);
}

}  // namespace tocsin::posix

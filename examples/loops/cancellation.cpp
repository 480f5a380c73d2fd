// SPDX-License-Identifier: MIT
// SIGTERM ends what waits with a std::stop_token: a condition variable that a std::jthread sleeps on.
#include <cstdio>

#include <tocsin/tocsin.hpp>

#if defined(__cpp_lib_jthread)

#include <condition_variable>
#include <mutex>
#include <queue>
#include <thread>

namespace {

class work_queue {
  public:
    void add(int job) {
        std::lock_guard const held{lock_};
        jobs_.push(job);
        changed_.notify_one();
    }
    // False once a stop is requested and nothing is left to do.
    bool take(std::stop_token const& stop, int& job) {
        std::unique_lock held{lock_};
        if (!changed_.wait(held, stop, [&] { return !jobs_.empty(); })) return false;
        job = jobs_.front();
        jobs_.pop();
        return true;
    }

  private:
    std::mutex lock_;
    std::condition_variable_any changed_;
    std::queue<int> jobs_;
};

}  // namespace

int main() {
    using namespace tocsin;
    work_queue queue;
    int done = 0;
    guard signals{
        on<SIGUSR1>(call([&](delivery const& d) { queue.add(d.signal()); })),
        on<SIGINT, SIGTERM>(request_stop),
    };
    {
        // the thread has a token of its own besides, which its destructor would trip; this one is the process's
        std::jthread const worker{[&, stop = signals.stop_token()] {
            for (int job = 0; queue.take(stop, job); ++done) std::printf("worked for %s\n", name(job).c_str());
        }};
        std::puts("ready");
        std::fflush(stdout);
    }
    std::printf("stopped after %d\n", done);
}

#else

int main() {
    std::puts("skipped: this standard library has no <stop_token>");
    return 77;
}

#endif

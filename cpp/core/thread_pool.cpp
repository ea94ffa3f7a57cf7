// SPDX-License-Identifier: Apache-2.0
//
// Fast beside others, too. Whoever shares a core with another process is stopped in the middle of an index for as long
// as that process's turn lasts, some milliseconds, and everybody else waits for that index. So
//
//   - threads hardly spin: a core whose thread sleeps is free to go on with one that was stopped elsewhere;
//   - helpers are paid by results: where callers wait for them longer than what they do would have taken, the callers
//     work alone for a while, and try again later.
#include "core/thread_pool.h"

#if !defined(_WIN32)
#include <pthread.h>
#endif

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>

#include "core/clock.h"

namespace panoptic_gs {

namespace {

constexpr int64_t kMicrosecond = 1000;  // nanoseconds
// How long threads spin before they sleep: about what falling asleep and waking up again cost.
constexpr int64_t kSpin = 20 * kMicrosecond;

// Waits for `done` to be true, but not for long.
template <class Done>
bool spin(Done&& done) {
    const int64_t end = elapsed_time() + kSpin;
    do {
        for (int i = 0; i < 32; ++i) {
            if (done()) return true;
#if defined(__x86_64__)
            __builtin_ia32_pause();
#elif defined(__aarch64__)
            asm volatile("yield");
#endif
        }
    } while (elapsed_time() < end);
    return false;
}

// Whether helpers are worth waiting for.
class Balance {
public:
    bool alone() const { return elapsed_time() < alone_until_.load(std::memory_order_relaxed); }

    // `helped`: processor time that helpers took off a caller; `waited`: how long it waited for the last of them.
    void add(int64_t helped, int64_t waited) {
        const std::lock_guard<std::mutex> lock(mutex_);
        helped_ += helped;
        waited_ += waited;
        if (helped_ + waited_ < kLeast) return;
        if (waited_ > helped_) {
            pause_ = std::min(2 * pause_, kLongestPause);
            alone_until_.store(elapsed_time() + pause_, std::memory_order_relaxed);
            helped_ = waited_ = 0;
        } else {
            pause_ = kShortestPause;
            helped_ /= 2;
            waited_ /= 2;
        }
    }

private:
    static constexpr int64_t kLeast = 4000 * kMicrosecond;  // to judge by: more than one turn of another process
    static constexpr int64_t kShortestPause = 10000 * kMicrosecond, kLongestPause = 320000 * kMicrosecond;

    std::mutex mutex_;
    int64_t helped_ = 0, waited_ = 0, pause_ = kShortestPause;
    std::atomic<int64_t> alone_until_{0};
};

struct Job {
    Job(int64_t count, int workers, Task task) : count(count), workers(workers), task(task) {}

    const int64_t count;
    const int workers;
    const Task task;
    std::atomic<int64_t> next{0};
    std::atomic<int64_t> finished{0};
    std::atomic<int64_t> helped{0};  // nanoseconds of processor time, of all but the caller
    std::atomic<int> joined{1};      // the caller is worker 0
    std::mutex mutex;
    std::condition_variable done;
    std::exception_ptr error;

    bool open() const { return next.load(std::memory_order_relaxed) < count && joined.load() < workers; }

    void work(int worker) {
        const int64_t begin = worker == 0 ? 0 : thread_time();
        int64_t mine = 0;
        for (int64_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < count; ++mine) {
            try {
                task.call(task.context, i, worker);
            } catch (...) {
                std::lock_guard<std::mutex> lock(mutex);
                if (!error) error = std::current_exception();
            }
        }
        if (mine == 0) return;
        if (worker != 0) helped.fetch_add(thread_time() - begin, std::memory_order_relaxed);
        if (finished.fetch_add(mine, std::memory_order_acq_rel) + mine == count) {
            std::lock_guard<std::mutex> lock(mutex);
            done.notify_all();
        }
    }

    bool complete() const { return finished.load(std::memory_order_acquire) == count; }

    void wait() {
        if (spin([this] { return complete(); })) return;
        std::unique_lock<std::mutex> lock(mutex);
        done.wait(lock, [this] { return complete(); });
    }
};

thread_local bool inside_task = false;

class Pool {
public:
    bool alone() const { return balance_.alone(); }

    void run(const std::shared_ptr<Job>& job) {
        {
            std::lock_guard<std::mutex> lock(mutex_);
            while (static_cast<int>(threads_) < job->workers - 1) {
                std::thread([this] { serve(); }).detach();
                ++threads_;
            }
            jobs_.push_back(job);
            posted_.fetch_add(1, std::memory_order_release);
        }
        if (job->workers == 2)
            wake_.notify_one();
        else
            wake_.notify_all();
        inside_task = true;
        job->work(0);
        inside_task = false;
        const int64_t begin = elapsed_time();
        job->wait();
        balance_.add(job->helped.load(std::memory_order_relaxed), elapsed_time() - begin);
        std::lock_guard<std::mutex> lock(mutex_);
        jobs_.erase(std::remove(jobs_.begin(), jobs_.end(), job), jobs_.end());
    }

private:
    std::shared_ptr<Job> take(int* worker) {
        for (const auto& job : jobs_)
            if (job->open()) {
                *worker = job->joined.fetch_add(1);
                return job;
            }
        return nullptr;
    }

    void serve() {
        inside_task = true;
        for (;;) {
            std::shared_ptr<Job> job;
            int worker = 0;
            uint64_t seen = 0;
            {
                std::unique_lock<std::mutex> lock(mutex_);
                job = take(&worker);
                seen = posted_.load(std::memory_order_relaxed);
            }
            if (!job) {  // the next call often comes within microseconds
                spin([&] { return posted_.load(std::memory_order_acquire) != seen; });
                std::unique_lock<std::mutex> lock(mutex_);
                wake_.wait(lock, [&] { return (job = take(&worker)) != nullptr; });
            }
            job->work(worker);
        }
    }

    Balance balance_;
    std::mutex mutex_;
    std::condition_variable wake_;
    std::deque<std::shared_ptr<Job>> jobs_;
    std::atomic<uint64_t> posted_{0};
    size_t threads_ = 0;
};

// Never destroyed: its detached workers may outlive static destruction. A forked child has no workers, and perhaps a
// locked mutex, so it gets a new pool.
Pool* pool = nullptr;

Pool& the_pool() {
    static const bool ready = [] {
        pool = new Pool;
#if !defined(_WIN32)  // where no process is forked
        pthread_atfork(nullptr, nullptr, [] {
            pool = new Pool;
            inside_task = false;
        });
#endif
        return true;
    }();
    (void)ready;
    return *pool;
}

}  // namespace

void run_parallel(int64_t count, int threads, Task task) {
    const int workers = static_cast<int>(std::min<int64_t>(std::max(threads, 1), count));
    if (workers <= 1 || inside_task || the_pool().alone()) {
        for (int64_t i = 0; i < count; ++i) task.call(task.context, i, 0);
        return;
    }
    const auto job = std::make_shared<Job>(count, workers, task);
    the_pool().run(job);
    if (job->error) std::rethrow_exception(job->error);
}

}  // namespace panoptic_gs

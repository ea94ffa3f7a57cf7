// SPDX-License-Identifier: Apache-2.0
#include "core/thread_pool.h"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>

namespace panoptic_gs {

namespace {

void pause_briefly() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

struct Job {
    Job(int64_t count, int workers, Task task) : count(count), workers(workers), task(task) {}

    const int64_t count;
    const int workers;
    const Task task;
    std::atomic<int64_t> next{0};
    std::atomic<int64_t> finished{0};
    std::atomic<int> joined{1};  // the caller is worker 0
    std::mutex mutex;
    std::condition_variable done;
    std::exception_ptr error;

    bool open() const { return next.load(std::memory_order_relaxed) < count && joined.load() < workers; }

    void work(int worker) {
        int64_t mine = 0;
        for (int64_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < count; ++mine) {
            try {
                task.call(task.context, i, worker);
            } catch (...) {
                std::lock_guard<std::mutex> lock(mutex);
                if (!error) error = std::current_exception();
            }
        }
        if (mine > 0 && finished.fetch_add(mine, std::memory_order_acq_rel) + mine == count) {
            std::lock_guard<std::mutex> lock(mutex);
            done.notify_all();
        }
    }

    void wait() {
        for (int i = 0; i < 4000; ++i) {
            if (finished.load(std::memory_order_acquire) == count) return;
            pause_briefly();
        }
        std::unique_lock<std::mutex> lock(mutex);
        done.wait(lock, [this] { return finished.load(std::memory_order_acquire) == count; });
    }
};

thread_local bool inside_task = false;

class Pool {
public:
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
        job->wait();
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
            if (!job) {  // the next call usually comes within microseconds
                for (int i = 0; i < 4000 && posted_.load(std::memory_order_acquire) == seen; ++i) pause_briefly();
                std::unique_lock<std::mutex> lock(mutex_);
                wake_.wait(lock, [&] { return (job = take(&worker)) != nullptr; });
            }
            job->work(worker);
        }
    }

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
        pthread_atfork(nullptr, nullptr, [] {
            pool = new Pool;
            inside_task = false;
        });
        return true;
    }();
    (void)ready;
    return *pool;
}

}  // namespace

void run_parallel(int64_t count, int threads, Task task) {
    const int workers = static_cast<int>(std::min<int64_t>(std::max(threads, 1), count));
    if (workers <= 1 || inside_task) {
        for (int64_t i = 0; i < count; ++i) task.call(task.context, i, 0);
        return;
    }
    const auto job = std::make_shared<Job>(count, workers, task);
    the_pool().run(job);
    if (job->error) std::rethrow_exception(job->error);
}

}  // namespace panoptic_gs
